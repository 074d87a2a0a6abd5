"""Admission rules: pure functions over typed objects, one module per topic. `kvtui.virtapi.review` is their front."""
