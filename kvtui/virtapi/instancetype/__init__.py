"""Instancetypes and preferences: finding them, what they demand, and what they make of a VM."""
