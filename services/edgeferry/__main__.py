"""The command line: a table, command -> where it is; a command's module is imported only
when it is asked for."""

from importlib import import_module

import click

from edgeferry.files.private import keep_private

COMMANDS = {
    "up": ("edgeferry.tools.up:up", "Run an Edge and a Cloud on this machine."),
    "cloud": ("edgeferry.tools.cloud:cloud", "Run a Cloud alone."),
    "edge": ("edgeferry.tools.edge:edge", "Join an Edge to a Cloud, and run it."),
    "site": ("edgeferry.tools.site_command:site", "Run one whole site in this process."),
    "rules": ("edgeferry.tools.site_command:rules", "Run rule nodes of a site."),
    "attributes": (
        "edgeferry.tools.site_command:attributes",
        "Run the owner of a site's attributes, entities and commands.",
    ),
    "gateway": ("edgeferry.tools.site_command:gateway", "Run the device gateway of a site."),
    "sync": ("edgeferry.tools.site_command:sync", "Run the sync link of a site."),
    "api": ("edgeferry.tools.site_command:api", "Run the REST interface of a site."),
    "servers": ("edgeferry.tools.servers:servers", "Run Kafka and Cassandra without containers."),
    "check": ("edgeferry.tools.check:main", "Check chain files, all problems at once."),
    "topics": ("edgeferry.tools.topics:topics", "Make and list the topics of a site."),
    "tail": ("edgeferry.tools.tail:tail", "Print a topic's records, decoded."),
    "lag": ("edgeferry.tools.lag:lag", "What each rule node still has to read."),
    "outbox": ("edgeferry.tools.outbox:outbox", "What of an Edge waits for its Cloud."),
    "dead-letters": ("edgeferry.tools.dead_letters:dead_letters", "List, show, replay them."),
    "devices": ("edgeferry.tools.devices:devices", "Add, list and remove devices."),
    "users": ("edgeferry.tools.users:users", "Who may use the REST interface, and API keys."),
    "edges": ("edgeferry.tools.edges:edges", "Add, list, remove edges; new secrets."),
    "move": ("edgeferry.tools.move:move", "Copy a site from SQLite to Kafka and Cassandra."),
    "bench": ("edgeferry.tools.bench.command:bench", "Measure, and prove that nothing is lost."),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="edgeferry")
def main() -> None:
    """Edgeferry keeps an Edge and a Cloud in step."""
    keep_private()


if __name__ == "__main__":
    main(prog_name="edgeferry")
