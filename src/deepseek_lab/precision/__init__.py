"""Number formats, applied to a built model from outside: the model never names one."""
