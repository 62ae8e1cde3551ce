"""Downslope: gradient descent that you can run, see and trust."""
