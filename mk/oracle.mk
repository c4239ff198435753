# Real Kafka and real Spark. What they answered is recorded under tests/wire, tests/sql and tests/stream, so that the comparisons
# need no JVM; `make oracle` fetches the real programs (1 GB) to record again or to run their tools on our files.
oracle:
	@tests/oracle/setup.sh
# Streams batch by batch as real Spark ran them. LIVE=1 runs them on the real stack too, to check the recordings themselves.
test-same: all build/venv/.ok
	@$(if $(LIVE),tests/oracle/setup.sh && build/venv/bin/python tests/stream/same.py --target spark)
	@build/venv/bin/python tests/stream/same.py
# Every function, operator and cast as real Spark answered it.
test-goldens: all build/venv/.ok
	@build/venv/bin/python tests/sql/goldens.py
# Kafka's own kafka-dump-log reads a data directory that every client and a crash have been at.
test-dumplog: all build/venv/.ok $(B)/tests/oracle/txnlog
	@tests/oracle/setup.sh kafka
	@build/venv/bin/python tests/oracle/dumplog.py
.PHONY: oracle test-same test-goldens test-dumplog
# Transactions written through the log, for kafka-dump-log to read.
$(B)/tests/oracle/txnlog: $(B)/tests/oracle/txnlog.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
