"""The sans-IO core of the protocol: decisions only, no socket, no task, no clock.

`core.Conversation` is its face; the transport that carries it is the shell.
"""
