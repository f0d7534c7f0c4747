"""The `ixy` command: a file per subcommand. Each parses, opens, runs an app, prints."""
