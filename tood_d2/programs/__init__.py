"""The programs that users call: the command ``tood``, and the scripts of a checkout."""
