"""Policies to compare DexVLA with, behind the same interface."""
