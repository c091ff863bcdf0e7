"""One move of a site, from the look at it to its new settings."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.core.store import Store
from edgeferry.files.whole import write_whole
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.log.sqlite import FILE as LOG_FILE
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import TopicSettings, chain_topics
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.runtime.strict_yaml import dump_yaml, load_yaml
from edgeferry.store.cassandra_probe import filled_tables
from edgeferry.store.open import open_store
from edgeferry.store.seal import Seal
from edgeferry.store.sqlite import FILE as STORE_FILE
from edgeferry.store.sqlite_rows import SqliteRows
from edgeferry.tools.move_log import Sum, carried_over, copy_topic, held, summed
from edgeferry.tools.move_plan import FILE, Plan, changed_since, read_plan
from edgeferry.tools.move_store import PROGRESS_FILE, compare_store, copy_store, count_store
from edgeferry.tools.move_survey import Surveyor
from edgeferry.tools.opened import must_answer
from edgeferry.tools.topics import wanted_topics

_START_KAFKA = "start it, or name another one with --kafka"


@dataclass(slots=True)
class Moved:
    """topics: what was copied of each and stands in the target; rows: by table of the store.
    settings: the new file, None when nothing was done but looking."""

    site: str
    conclusion: str = ""
    topics: dict[str, Sum] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    settings: str | None = None

    def document(self) -> dict[str, Any]:
        return {
            "site": self.site,
            "topics": {name: one._asdict() for name, one in self.topics.items()},
            "rows": dict(self.rows),
            "settings": self.settings,
            "text": self.conclusion,
        }


class Mover:
    """``settings``: of the stopped site; ``target``: the same with the log and store that it
    is to have."""

    def __init__(
        self,
        *,
        settings_file: Path,
        settings: Settings,
        target: Settings,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._file = settings_file
        self._settings = settings
        self._target = target
        self._clock = clock
        self._say = say
        self._moves_log = target.log.kind != settings.log.kind
        self._moves_store = target.store.kind != settings.store.kind
        self._progress = settings.data / PROGRESS_FILE
        self._wanted = {topic.name: topic for topic in wanted_topics(target)}

    async def run(self, *, dry_run: bool = False) -> Moved:
        """Raises LogUnavailable, StoreUnavailable (start again, it goes on); LogUnusable and
        StoreUnusable when the site runs; Stop."""
        async with self._source() as (log, store):
            plan = await self._plan(log, store)
            before = read_plan(self._settings.data)
            if before is not None and before.done and not before.has_target_of(plan):
                before = None  # an earlier move of another part
            if before is not None:
                self._check_same(before, plan)
                plan = before
            if plan.done is not None:
                return Moved(self._settings.site, f"moved already. {self._next(plan.done)}")
            if self._moves_log:
                await must_answer(self._target.log.kafka.bootstrap, _START_KAFKA)
            if before is None:
                await self._check_free(plan)
            if dry_run:
                return await self._looked_at(plan, log)
            if before is None:
                self._progress.unlink(missing_ok=True)
                plan.write(self._settings.data)
            return await self._move(plan, log, store)

    @asynccontextmanager
    async def _source(self) -> AsyncIterator[tuple[SqliteLog | None, Store]]:
        """The site's own files, which nobody else has as long as we do."""
        settings, data = self._settings, self._settings.data
        async with AsyncExitStack() as opened:
            log = None
            if settings.log.kind == "sqlite":
                _must_exist(data / LOG_FILE)
                log = SqliteLog(folder=data, clock=self._clock, expires=False)
                await log.start()
                opened.push_async_callback(log.stop)
            if settings.store.kind == "sqlite":
                _must_exist(data / STORE_FILE)
            store = open_store(settings=settings.store, data=data, clock=self._clock)
            await store.start()
            opened.push_async_callback(store.stop)
            yield log, store

    async def _plan(self, log: SqliteLog | None, store: Store) -> Plan:
        stored = await store.positions.all()
        plan = Plan(
            site=self._settings.site,
            log=f"Kafka at {self._target.log.kafka.bootstrap}" if self._moves_log else None,
            store=self._store_name() if self._moves_store else None,
            topics=(),
            positions=stored,
        )
        if log is None or not self._moves_log:
            return plan
        surveyor = Surveyor(
            settings=self._settings,
            log=log,
            positions=store.positions,
            stored=stored,
            partitions=lambda topic: self._topic(topic).partitions,
            clock=self._clock,
        )
        found = await surveyor.survey()
        return replace(plan, topics=found.topics, positions=found.positions)

    def _store_name(self) -> str:
        options = self._target.store.cassandra
        return f"keyspace {options.keyspace} of Cassandra at {', '.join(options.contact_points)}"

    def _topic(self, name: str) -> TopicSettings:
        """In the target. What the root chain has not is of a chain that ran once."""
        found = self._wanted.get(name)
        return found or chain_topics([name], self._target.log.kafka.partitions)[0]

    def _check_same(self, before: Plan, now: Plan) -> None:
        path = self._settings.data / FILE
        if not before.has_target_of(now):
            targets = " and ".join(name for name in (before.log, before.store) if name)
            raise Stop(
                f"a move to {targets} was begun: go on with that one, or delete what it has "
                f"copied there and then {path}"
            )
        changed = changed_since(before, now)
        if changed is not None and not before.done:
            raise Stop(
                f"the site has run since this move was begun ({changed} has changed): delete what "
                f"was copied from the target, then {path}, and begin again"
            )

    async def _check_free(self, plan: Plan) -> None:
        """The target has nothing in it. Raises Stop."""
        if self._moves_log:
            async with self._target_log() as target:
                existing = await target.topics.partitions()
                names = {topic.name for topic in plan.topics} | self._wanted.keys()
                for name in sorted(names & existing.keys()):
                    if any(end for _, end in (await held(target.reader, name)).values()):
                        raise Stop(
                            f"{plan.log} has records of a site {plan.site} already (topic {name}): "
                            "choose another Kafka, or delete the topics of that site there"
                        )
        if self._moves_store:
            filled = await filled_tables(self._target.store.cassandra, self._clock)
            if filled:
                raise Stop(
                    f"{plan.store} has rows already ({', '.join(filled)}): choose another keyspace"
                )

    @asynccontextmanager
    async def _target_log(self) -> AsyncIterator[Log]:
        target = self._target
        log = open_log(settings=target.log, data=target.data, clock=self._clock)
        await log.start()
        try:
            yield log
        finally:
            await log.stop()

    async def _looked_at(self, plan: Plan, log: SqliteLog | None) -> Moved:
        moved = Moved(plan.site, "nothing was copied: it was a dry run")
        if log is not None:
            moved.topics = {t.name: await summed(log, t.name, t.spans) for t in plan.topics}
        if self._moves_store:
            moved.rows = await count_store(self._rows(), self._clock)
        return moved

    def _rows(self) -> SqliteRows:
        key = self._settings.store.credentials_key_file
        return SqliteRows(self._settings.data / STORE_FILE, Seal(key) if key else None)

    async def _move(self, plan: Plan, log: SqliteLog | None, store: Store) -> Moved:
        moved = Moved(plan.site)
        async with AsyncExitStack() as opened:
            if self._moves_store:
                target = self._target
                store = open_store(settings=target.store, data=target.data, clock=self._clock)
                await store.start()
                opened.push_async_callback(store.stop)
                moved.rows = await self._copy_store(store)
            if self._moves_log and log is not None:
                log_there = await opened.enter_async_context(self._target_log())
                moved.topics = await self._copy_log(plan, log, log_there)
            for stream, position in plan.positions.items():
                await store.positions.save(stream, position)
        file = self._write_settings()
        plan.finished(file).write(self._settings.data)
        self._progress.unlink(missing_ok=True)
        moved.settings = str(file)
        records = sum(one.records for one in moved.topics.values())
        moved.conclusion = (
            f"copied and compared: {records} records, {sum(moved.rows.values())} rows. "
            f"{self._next(str(file))}"
        )
        return moved

    async def _copy_store(self, target: Store) -> Mapping[str, int]:
        self._say("copying the store")
        told = _Told(self._say)
        rows = self._rows()
        await copy_store(
            rows=rows, target=target, progress=self._progress, clock=self._clock, say=told.more
        )
        self._say("comparing the store")
        return await compare_store(rows=rows, target=target, clock=self._clock)

    async def _copy_log(self, plan: Plan, log: SqliteLog, target: Log) -> dict[str, Sum]:
        names = {topic.name for topic in plan.topics} | self._wanted.keys()
        await target.topics.ensure([self._topic(name) for name in sorted(names)])
        told = _Told(self._say)
        for topic in plan.topics:
            await copy_topic(
                source=log,
                target=target.reader,
                writer=target.writer,
                topic=topic.name,
                spans=topic.spans,
                say=partial(told.more, topic.name),
            )
        self._say("comparing the topics")
        sums: dict[str, Sum] = {}
        for topic in plan.topics:
            wanted = await summed(log, topic.name, topic.spans)
            found = await summed(target.reader, topic.name, await held(target.reader, topic.name))
            if wanted != found:
                raise Stop(
                    f"{topic.name} differs: {wanted} here, {found} in the target: delete "
                    f"the topics there, then {self._settings.data / FILE}, and begin anew"
                )
            sums[topic.name] = found
            for group, offsets in topic.readers.items():
                there = await carried_over(
                    source=log,
                    target=target.reader,
                    topic=topic.name,
                    spans=topic.spans,
                    read=offsets,
                )
                await target.reader.commit(group, topic.name, there)
        return sums

    def _next(self, settings_file: str) -> str:
        return (
            f"Put {settings_file} in the place of {self._file}, or start the site with `edgeferry "
            f"site --settings {settings_file}`; never again with the old one. What it leaves in "
            f"{self._settings.data} may go: {' and '.join(self._left())}"
        )

    def _left(self) -> Iterator[str]:
        if self._moves_log:
            yield f"{LOG_FILE}*"
        if self._moves_store:
            yield f"{STORE_FILE}*"

    def _write_settings(self) -> Path:
        """The old file's settings with the new log and store. Raises Stop, InvalidSettings."""
        target = self._target
        document = load_yaml(self._file.read_text()) or {}
        if self._moves_log:
            document["log"] = target.log.model_dump(mode="json")
        if self._moves_store:
            before = document.get("store") or {}
            document["store"] = target.store.model_dump(mode="json")
            if before.get("credentials_key_file"):  # as it is told there, from the file's place
                document["store"]["credentials_key_file"] = before["credentials_key_file"]
        path = self._file.with_name(f"{self._file.stem}-moved.yaml")
        mode = self._file.stat().st_mode & 0o777
        write_whole(path, dump_yaml(document).encode(), mode)
        read = load_settings(path)
        if (read.log, read.store) != (target.log, target.store):
            raise Stop(
                f"all is copied, and {path} written, but the environment overrides it: take "
                "EDGEFERRY_LOG__* and EDGEFERRY_STORE__* away and start this again"
            )
        return path


class _Told:
    """Tells every so often how far it is."""

    _EVERY = 50_000

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._counts: dict[str, int] = {}

    def more(self, name: str, count: int) -> None:
        before = self._counts.get(name, 0)
        now = self._counts[name] = before + count
        if before // self._EVERY != now // self._EVERY:
            self._say(f"{name}: {now} copied")


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise Stop(
            f"there is no {path}: a site that never ran has nothing to move; start it with the "
            "settings that it is to have"
        )
