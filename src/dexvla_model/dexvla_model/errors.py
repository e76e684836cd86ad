"""The one exception for mistakes of the user's, as opposed to bugs."""


class UserError(Exception):
    """Something the user can mend: a wrong file, key, name or value.

    The message is one sentence that names the file and key, what was found, what is allowed and what to do.
    Command lines print it without a traceback and exit with code 2; anything else that is raised is a bug.
    """
