"""The prompt: prompt-toolkit's session with our lexer, completer, hints, history; a plain reader for poor terminals.

Only what is in this room imports asyncio and prompt_toolkit, and kvsh imports it only at a terminal: they cost 80 ms.
"""
