"""Compiled kernels: arrays in, arrays written."""
