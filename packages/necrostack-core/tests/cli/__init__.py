"""The tests of the command line: a package, so that their names are their own."""
