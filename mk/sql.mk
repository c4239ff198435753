# sql_run: SQL through parser, plan and operators without a server (tests/sql/runner.c); make test-sql compares with real Spark.
$(B)/sql_run: $(B)/tests/sql/runner.o $(B)/libpenstock.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
test-sql: $(B)/sql_run
	@$(B)/sql_run $(patsubst %,-g %,$(wildcard tests/sql/known-gaps.txt)) tests/sql/functions/*.golden tests/sql/joins/*.golden
.PHONY: test-sql
-include $(B)/tests/sql/runner.d
