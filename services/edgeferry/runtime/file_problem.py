"""What the operating system refuses, for the operator."""


def file_problem(error: OSError) -> str | None:
    """What is wrong with which file or folder, and what to do; None when no file is named."""
    if error.filename is None:
        return None
    return (
        f"cannot use {error.filename}: {error.strerror}. Make it readable and writable, free "
        "space on its disk, or choose another folder"
    )
