"""The process: settings, HTTP, metrics and the command line around one engine."""
