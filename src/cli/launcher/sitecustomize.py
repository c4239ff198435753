"""What `penstock run` puts in front of a PySpark script: hooks that act when pyspark is imported, never before.

Python imports a module of this name at start-up. Importing pyspark here would run it before the script's __main__ exists,
which its dependency check takes for a doctest run; so this file only registers a finder, and each patch below runs right
after the module it names was loaded. The environment says what the launcher found out:

    SPARK_REMOTE         where the server is
    PENSTOCK_RUN_CWD     directory that relative checkpoint locations mean
    PENSTOCK_RUN_CONSOLE URL to read console sinks from (only when the server is not the launcher's own)
"""
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_CWD = os.environ.get("PENSTOCK_RUN_CWD") or os.getcwd()


def _users_own():
    """Run the sitecustomize that this one hides, if there is one."""
    paths = [p for p in sys.path if os.path.abspath(p or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec is not None and spec.loader is not None and spec.origin:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _local_path(value):
    """A location as the script means it: a relative path is relative to the script's directory of work."""
    text = str(value)
    return text if not text or "://" in text or text.startswith("file:") else os.path.join(_CWD, text)


def _patch_session_builder(module):
    """pyspark.sql.session: .master(...) beside a remote is what every tutorial writes; the launcher has decided already."""
    builder = module.SparkSession.Builder
    validate = builder._validate_startup_urls

    def _validate_startup_urls(self):
        os.environ.pop("MASTER", None)
        self._options.pop("spark.master", None)
        validate(self)

    builder._validate_startup_urls = _validate_startup_urls


class _Context:
    """spark.sparkContext as far as scripts use it without RDDs."""

    def __init__(self, session):
        self._session = session

    def setLogLevel(self, logLevel):
        if str(logLevel).upper() not in ("ALL", "DEBUG", "ERROR", "FATAL", "INFO", "OFF", "TRACE", "WARN"):
            raise ValueError(f"Supplied level {logLevel} did not match one of: "
                             "ALL,DEBUG,ERROR,FATAL,INFO,OFF,TRACE,WARN")

    @property
    def version(self):
        return self._session.version

    @property
    def appName(self):
        return self._session.conf.get("spark.app.name", "penstock")

    @property
    def applicationId(self):
        return "penstock-" + self._session._session_id

    @property
    def master(self):
        return "local[*]"

    @property
    def defaultParallelism(self):
        return os.cpu_count() or 1

    @property
    def uiWebUrl(self):
        return None

    def getConf(self):
        from pyspark.conf import SparkConf

        conf = SparkConf()
        for key, value in self._session.conf.getAll.items():
            conf.set(key, value)
        return conf

    def stop(self):
        self._session.stop()

    def __getattr__(self, name):
        from pyspark.errors import PySparkAttributeError

        raise PySparkAttributeError(errorClass="JVM_ATTRIBUTE_NOT_SUPPORTED", messageParameters={"attr_name": name})


def _patch_connect_session(module):
    """pyspark.sql.connect.session: sparkContext for setLogLevel; checkpoint locations; the console."""
    session = module.SparkSession
    session.sparkContext = property(_Context)
    apply_options = session.Builder._apply_options

    def _apply_options(self, spark):
        location = self._options.get("spark.sql.streaming.checkpointLocation")
        if location:
            self._options["spark.sql.streaming.checkpointLocation"] = _local_path(location)
        apply_options(self, spark)
        _follow_console(spark)

    session.Builder._apply_options = _apply_options


def _patch_writer(module):
    """pyspark.sql.connect.streaming.readwriter: a relative checkpointLocation is the script's, not the server's."""
    option = module.DataStreamWriter.option

    def _option(self, key, value):
        return option(self, key, _local_path(value) if str(key).lower() == "checkpointlocation" else value)

    module.DataStreamWriter.option = _option


def _patch_pyspark(module):
    """pyspark: `from pyspark import SparkContext`, which pyspark-client alone does not have."""
    if hasattr(module, "SparkContext"):
        return

    class SparkContext(_Context):
        def __init__(self, master=None, appName=None, conf=None, **_):
            from pyspark.sql import SparkSession

            builder = SparkSession.builder
            if conf is not None:
                builder = builder.config(conf=conf)
            if appName is not None:
                builder = builder.appName(appName)
            super().__init__(builder.getOrCreate())

        @classmethod
        def getOrCreate(cls, conf=None):
            return cls(conf=conf)

    module.SparkContext = SparkContext


def _follow_console(spark):
    """Print what this session's console sinks print, when the server is another process."""
    url = os.environ.get("PENSTOCK_RUN_CONSOLE")
    if not url or getattr(spark, "_penstock_console", False):
        return
    spark._penstock_console = True
    import threading
    import urllib.request

    spark.conf.set("penstock.console", "client")

    def follow():
        at, failures = 0, 0
        while failures < 3:
            try:
                with urllib.request.urlopen(f"{url}?session={spark._session_id}&from={at}", timeout=60) as answer:
                    text = answer.read()
                    at = int(answer.headers["X-Console-Next"])
                failures = 0
            except (OSError, ValueError, TypeError):
                failures += 1
                continue
            if text:
                sys.stdout.write(text.decode("utf-8", "replace"))
                sys.stdout.flush()

    threading.Thread(target=follow, name="penstock-console", daemon=True).start()


_PATCHES = {
    "pyspark": _patch_pyspark,
    "pyspark.sql.session": _patch_session_builder,
    "pyspark.sql.connect.session": _patch_connect_session,
    "pyspark.sql.connect.streaming.readwriter": _patch_writer,
}


class _Loader(importlib.abc.Loader):
    """A module's own loader, and its patch afterwards."""

    def __init__(self, loader, patch):
        self._loader = loader
        self._patch = patch

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._patch(module)

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        patch = _PATCHES.get(name)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            if name == "pyspark":
                sys.stderr.write(
                    f"penstock run: {sys.executable} has no pyspark. Install it and run again:\n"
                    f"    {sys.executable} -m pip install pyspark-client==4.2.0\n"
                    "or name another Python: penstock run --python PYTHON script.py\n")
                sys.stderr.flush()
                os._exit(1)
            return None
        spec.loader = _Loader(spec.loader, patch)
        return spec


sys.meta_path.insert(0, _Finder())
try:
    _users_own()
except Exception as e:  # as site.py does: report, go on
    sys.stderr.write(f"Error in sitecustomize; set PYTHONVERBOSE for traceback:\n{type(e).__name__}: {e}\n")
