"""The lanes of the link, named after their topics; in each direction the first goes first."""

GENERAL_UP = "cloud-events"
TELEMETRY_UP = "cloud-events-ts"
GENERAL_DOWN = "edge-events"
TELEMETRY_DOWN = "edge-events-ts"

UP = (GENERAL_UP, TELEMETRY_UP)
"""Edge to Cloud, in order of precedence: a backlog of the second never holds up the first."""

DOWN = (GENERAL_DOWN, TELEMETRY_DOWN)
"""Cloud to Edge, likewise."""
