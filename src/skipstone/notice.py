"""What a user should know although nothing is wrong."""


class Notice(UserWarning):
    """A warning of skipstone; on the command line it is one line on standard error."""
