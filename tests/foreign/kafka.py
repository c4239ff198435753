#!/usr/bin/env python3
# limit: 420
"""Apache Kafka 4.3.1 as the foreign cluster: what tests/foreign/penstock.py asks of another penstock, and SASL and SSL."""
import contextlib
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import foreign_cases as cases
import penstock_server
from cases import ROOT, case, equal, has, main
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

ORACLE = os.path.join(ROOT, "tests/oracle")
JARS = os.path.join(os.environ.get("ORACLE_DIR") or os.path.join(ROOT, "build/oracle"), "kafka")
PASSWORD = "keep out"
far = near = spark = None


def command(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Kafka:
    """One broker with a listener for each way of security."""

    def __init__(self, directory):
        self.dir = directory
        port, self.scram, self.sasl_ssl, self.ssl = penstock_server.free_ports(4)
        self.kafka = f"127.0.0.1:{port}"
        self.port = str(port)
        self.scram, self.sasl_ssl, self.ssl = (f"127.0.0.1:{p}" for p in (self.scram, self.sasl_ssl, self.ssl))
        self.keys()

    def keys(self):
        """An authority, the broker's key, a client's key; stores as Java's tools make them."""
        at = lambda name: os.path.join(self.dir, name)
        subject = lambda name: f"/O=penstock test/CN={name}"
        command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "10", "-keyout", at("ca.key"), "-out",
                at("ca.pem"), "-subj", subject("authority"))
        with open(at("san"), "w", encoding="ascii") as f:
            f.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        for name in ("broker", "client"):
            command("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", at(name + ".key"), "-out", at(name + ".csr"),
                    "-subj", subject(name))
            command("openssl", "x509", "-req", "-in", at(name + ".csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"),
                    "-CAcreateserial", "-days", "10", "-extfile", at("san"), "-out", at(name + ".crt"))
            with open(at(name + ".pem"), "w", encoding="ascii") as f:
                for part in (name + ".key", name + ".crt", "ca.pem"):
                    f.write(open(at(part), encoding="ascii").read())
        for kind in ("JKS", "PKCS12"):
            command("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", at("ca.pem"), "-keystore", at("trust." + kind),
                    "-storetype", kind, "-storepass", PASSWORD)
        command("openssl", "pkcs12", "-export", "-in", at("client.pem"), "-out", at("client.PKCS12"), "-passout", "pass:" + PASSWORD,
                "-name", "client")
        command("keytool", "-importkeystore", "-noprompt", "-srckeystore", at("client.PKCS12"), "-srcstorepass", PASSWORD,
                "-destkeystore", at("client.JKS"), "-deststoretype", "JKS", "-deststorepass", PASSWORD)

    def start(self):
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_bob=\"bob-secret\";"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        environment = {**os.environ, "LISTENERS": f"SASL_PLAINTEXT://{self.scram},SASL_SSL://{self.sasl_ssl},SSL://{self.ssl}"}
        settings = [
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            f"listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={scram}",
            f"listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config={scram}",
            f"listener.name.sasl_plaintext.plain.sasl.jaas.config={plain}",
            f"listener.name.sasl_ssl.plain.sasl.jaas.config={plain}",
            f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}",
            f"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}",
            "ssl.keystore.type=PEM", f"ssl.keystore.location={self.dir}/broker.pem",
            "ssl.truststore.type=PEM", f"ssl.truststore.location={self.dir}/ca.pem",
            "listener.name.ssl.ssl.client.auth=required",
        ]
        subprocess.run([os.path.join(ORACLE, "kafka-broker.sh"), "start", self.port, os.path.join(self.dir, "kafka"), *settings],
                       check=True, env=environment)
        return self

    def stop(self):
        subprocess.run([os.path.join(ORACLE, "kafka-broker.sh"), "stop", os.path.join(self.dir, "kafka")], check=True)


@contextlib.contextmanager
def kafka():
    if subprocess.run(["java", "--version"], capture_output=True).returncode or not os.path.isdir(JARS):
        subprocess.run([os.path.join(ORACLE, "setup.sh"), "kafka"], check=True)
    with tempfile.TemporaryDirectory(prefix="penstock-kafka-") as directory:
        broker = Kafka(directory)
        try:
            yield broker.start()
        finally:
            broker.stop()


for shared in (cases.batch_reads_all, cases.stream_follows, cases.limits_cut_batches, cases.new_partitions_and_topics_are_found,
               cases.markers_and_aborted_records_are_not_seen, cases.sink_writes_what_java_would, cases.a_topic_made_again_is_loss):
    def run(fn=shared):
        fn(spark, far)
    run.__name__ = shared.__name__
    case(run)


@case
def a_restarted_broker_is_waited_for():
    cases.create(far, "restart", 2)
    cases.produce(far, "restart", range(1000))
    df = cases.source(spark, far, "restart").selectExpr("cast(value as string) v")
    with cases.running(df.writeStream.format("memory").queryName("restart")) as q:
        q.processAllAvailable()
        far.stop()
        far.start()
        cases.produce(far, "restart", range(1000, 2000))
        cases.wait(lambda: spark.table("restart").count() >= 2000, "records after the restart")
        equal(sorted(int(r.v) for r in spark.table("restart").collect()), list(range(2000)))


# -- security ----------------------------------------------------------------------------------------------------------


def secure(address, **options):
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", address).option("subscribe", "safe")
    for k, v in options.items():
        reader = reader.option("kafka." + k.replace("_", "."), v)
    return reader.load().count()


def refused(text, address, **options):
    try:
        secure(address, default_api_timeout_ms="5000", **options)
    except Exception as e:
        has(str(e), text)
        return
    raise AssertionError("it was let in")


def scram(user, password, mechanism="SCRAM-SHA-512"):
    return dict(security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism,
                sasl_jaas_config=f"org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" password=\"{password}\";")


def plain_ssl(**more):
    return dict(security_protocol="SASL_SSL", sasl_mechanism="PLAIN",
                sasl_jaas_config="org.apache.kafka.common.security.plain.PlainLoginModule required\n  username='bob'\n  password='bob-secret' ;",
                **more)


@case
def scram_lets_in_who_knows_the_password():
    cases.create(far, "safe")
    cases.produce(far, "safe", range(10))
    client = cases.admin(far)
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        change = UserScramCredentialUpsertion("alice", ScramCredentialInfo(mechanism, 4096), b"a \"quoted\" secret")
        for result in client.alter_user_scram_credentials([change]).values():
            result.result(cases.PATIENCE)
    equal(secure(far.scram, **scram("alice", 'a \\"quoted\\" secret')), 10)
    equal(secure(far.scram, **scram("alice", 'a \\"quoted\\" secret', "SCRAM-SHA-256")), 10)
    refused("uthentication failed", far.scram, **scram("alice", "wrong"))


@case
def stores_of_every_kind_are_read():
    for kind in ("JKS", "PKCS12"):
        equal(secure(far.sasl_ssl, **plain_ssl(ssl_truststore_location=f"{far.dir}/trust.{kind}", ssl_truststore_type=kind,
                                               ssl_truststore_password=PASSWORD)), 10)
    equal(secure(far.sasl_ssl, **plain_ssl(ssl_truststore_location=f"{far.dir}/ca.pem", ssl_truststore_type="PEM")), 10)
    equal(secure(far.sasl_ssl, **plain_ssl(ssl_truststore_certificates=open(f"{far.dir}/ca.pem", encoding="ascii").read(),
                                           ssl_truststore_type="PEM")), 10)
    refused("certificate verify failed", far.sasl_ssl, **plain_ssl())
    refused("password was incorrect", far.sasl_ssl,
            **plain_ssl(ssl_truststore_location=f"{far.dir}/trust.JKS", ssl_truststore_password="wrong"))


@case
def a_client_shows_its_certificate():
    trust = dict(security_protocol="SSL", ssl_truststore_location=f"{far.dir}/trust.JKS", ssl_truststore_password=PASSWORD)
    for kind in ("JKS", "PKCS12"):
        equal(secure(far.ssl, **trust, ssl_keystore_location=f"{far.dir}/client.{kind}", ssl_keystore_type=kind,
                     ssl_keystore_password=PASSWORD, ssl_key_password=PASSWORD), 10)
    equal(secure(far.ssl, **trust, ssl_keystore_location=f"{far.dir}/client.pem", ssl_keystore_type="PEM"), 10)
    refused("The Kafka cluster " + far.ssl, far.ssl, **trust)


@case
def a_sink_that_must_log_in():
    trust = dict(ssl_truststore_location=f"{far.dir}/trust.PKCS12", ssl_truststore_password=PASSWORD, ssl_truststore_type="PKCS12")
    with tempfile.TemporaryDirectory() as checkpoint:
        df = cases.source(spark, far, "safe").select("value")
        writer = df.writeStream.format("kafka").option("kafka.bootstrap.servers", far.sasl_ssl).option("topic", "safe-out")
        for k, v in plain_ssl(**trust).items():
            writer = writer.option("kafka." + k.replace("_", "."), v)
        cases.create(far, "safe-out")
        with cases.running(writer.option("checkpointLocation", checkpoint).trigger(availableNow=True)) as q:
            q.awaitTermination(cases.PATIENCE)
            assert q.exception() is None, q.exception()
    equal(sorted(map(int, cases.values(cases.consume(far, "safe-out")))), list(range(10)))


@case  # the last: it restarts the penstock that `spark` is a session on
def sink_is_exactly_once_over_kills():
    with tempfile.TemporaryDirectory() as checkpoint:
        cases.sink_is_exactly_once_over_kills(near, far, lambda: penstock_server.connect("sc://" + near.connect), checkpoint)


with kafka() as far, penstock_server.running() as near:
    with penstock_server.connect("sc://" + near.connect) as spark:
        main()
