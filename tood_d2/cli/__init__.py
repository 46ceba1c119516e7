"""What the command lines share: arguments, messages, logging, processes.

Nothing is imported here, and PyTorch only where it is used, so that ``--help`` starts at once.
"""
