"""The four ways to patch an object, and who owns which field. Pure functions over plain dicts."""
