"""The servers that are part of this benchmark; those of other environments do not import the project."""
