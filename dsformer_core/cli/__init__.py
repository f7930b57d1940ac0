"""The `dsformer` command: one module per sub-command, each only parsing arguments and printing answers."""
