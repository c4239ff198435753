// RecordTransactions HOST PORT OUTDIR: the conversations of RecordLive.java about transactions. Two generations of clients are recorded: those that
// add partitions and offsets by name (librdkafka; Produce up to 11, EndTxn up to 4) and those that leave it to the broker
// (Java with transaction.version 2; Produce 12, TxnOffsetCommit 5, EndTxn 5, a new epoch with each transaction).
//
// Run it through `kafka-goldens.sh transactions`. Kafka answers EndTxn before its markers are written, so a recording waits a little where the next request needs them.

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;

class RecordTransactions extends RecordLive {
    private static final int MARKERS_MS = 200;

    private String id = "";
    private long producer = -1;
    private int epoch = -1;

    private RecordTransactions(String host, int port, Path file, String about) throws Exception {
        super(host, port, file, about);
    }

    public static void main(String[] args) throws Exception {
        Path dir = Path.of(args[2]);
        String host = args[0];
        int port = Integer.parseInt(args[1]);
        Path warm = java.nio.file.Files.createTempFile("warm", ".golden");
        RecordTransactions r = new RecordTransactions(host, port, warm, "coordinators that get ready");
        r.warm();
        r.close();
        java.nio.file.Files.delete(warm);
        r = new RecordTransactions(host, port, dir.resolve("transactions-ids.golden"),
            "transactional ids: their coordinator, producer ids and epochs, fencing");
        r.ids();
        r.close();
        r = new RecordTransactions(host, port, dir.resolve("transactions-v1.golden"),
            "transactions of clients that add partitions and offsets by name");
        r.generationOne();
        r.close();
        r = new RecordTransactions(host, port, dir.resolve("transactions-v2.golden"),
            "transactions of clients with transaction.version 2");
        r.generationTwo();
        r.close();
        r = new RecordTransactions(host, port, dir.resolve("transactions-offsets.golden"),
            "offsets of consumer groups that are committed in transactions");
        r.offsets();
        r.close();
        r = new RecordTransactions(host, port, dir.resolve("transactions-reads.golden"),
            "what readers see of open, committed and aborted transactions");
        r.reads();
        r.close();
        r = new RecordTransactions(host, port, dir.resolve("transactions-admin.golden"),
            "transactions listed, described, and ended by an administrator or by their timeout");
        r.admin();
        r.close();
    }

    // ---- conversations -----------------------------------------------------------------------------------------------

    private void ids() throws Exception {
        for (int v = 1; v <= 6; v++)
            if (v < 4)
                ask("FindCoordinator", v, "{'key':'id','keyType':1}");
            else
                ask("FindCoordinator", v, "{'keyType':1,'coordinatorKeys':['id','other']}");
        ask("FindCoordinator", 4, "{'keyType':1,'coordinatorKeys':['']}");
        say("a new id; the same again: the epoch rises");
        for (int v = 0; v <= 5; v++) {
            init("id-v" + v, v, 60000);
            init("id-v" + v, v, 60000);
        }
        say("timeouts: the highest allowed, above it, zero, below; an empty id");
        for (int timeout : new int[] {900000, 900001, 0, -1})
            askInit("id-timeout", 4, timeout, -1, -1);
        askInit("", 4, 60000, -1, -1);
        say("a producer that goes on with its id and epoch (KIP-360): right, old, too high, another id, half of it, a new id");
        init("id-bump", 4, 60000);
        askInit("id-bump", 4, 60000, producer, epoch);
        say("(the same once more: its answer might have been lost)");
        askInit("id-bump", 4, 60000, producer, epoch);
        askInit("id-bump", 4, 60000, producer, epoch + 1);
        askInit("id-bump", 4, 60000, producer, epoch);
        askInit("id-bump", 3, 60000, producer, epoch);
        askInit("id-bump", 4, 60000, producer, epoch + 9);
        askInit("id-bump", 4, 60000, producer + 500000, epoch + 2);
        askInit("id-bump", 4, 60000, producer, -1);
        askInit("id-bump", 4, 60000, -1, 0);
        askInit("id-unknown", 4, 60000, producer + 500000, 3);
        say("an open transaction is aborted by the next incarnation, which is told to try again meanwhile");
        create("ids", 1);
        for (int v : new int[] {1, 4}) {
            init("id-open", v, 60000);
            add(3, "ids", 0);
            send(11, "ids", 0, 0);
            long old = epoch;
            init("id-open", v, 60000);
            pause();
            init("id-open", v, 60000);
            say("(the old epoch) produce, add, commit its offsets, end; in old and new versions");
            int now = epoch;
            epoch = (int) old;
            send(11, "ids", 0, 1);
            send(12, "ids", 0, 1);
            for (int version : new int[] {0, 1, 2, 3})
                add(version, "ids", 0);
            for (int version : new int[] {0, 1, 2, 3})
                addOffsets(version, "ids-group");
            commitOffset(3, "ids-group", "ids", 7);
            commitOffset(5, "ids-group", "ids", 7);
            for (int version : new int[] {0, 1, 2, 3, 4, 5})
                end(version, true);
            askInit("id-open", 4, 60000, producer, epoch);
            epoch = now;
        }
        fetch("ids", 0, 1, 0);
    }

    private void generationOne() throws Exception {
        create("one", 3);
        create("other", 1);
        for (int v = 0; v <= 3; v++) {
            say("committed and aborted, AddPartitionsToTxn version " + v);
            init("one-" + v, Math.min(v, 4), 60000);
            for (boolean commit : new boolean[] {true, false}) {
                int sequence = commit ? 0 : 2;
                add(v, "one", 0, 1);
                send(8 + v, "one", 0, sequence);
                send(8 + v, "one", 1, sequence);
                offsetsOf("one", 0);
                end(v, commit);
                pause();
                offsetsOf("one", 0);
            }
            send(8 + v, "one", 0, 4);
        }
        say("version 4 of EndTxn; a partition added twice; nothing added; no partitions in the request");
        init("one-4", 4, 60000);
        add(3, "one", 0);
        add(3, "one", 0);
        send(11, "one", 0, 0);
        add(3, "one");
        askAdd(3, "");
        end(4, true);
        pause();
        say("committing and aborting again what has ended, and the other way round; then what never began");
        end(4, true);
        end(4, false);
        add(3, "one", 0);
        end(3, false);
        pause();
        end(3, false);
        end(3, true);
        init("one-empty", 4, 60000);
        for (int v : new int[] {0, 2, 3, 4})
            end(v, v % 4 == 0);
        say("a transaction without records");
        add(3, "one", 0, 1);
        add(3, "other", 0);
        end(3, true);
        pause();
        say("what AddPartitionsToTxn refuses: unknown topic or partition, with others; wrong epoch, producer, id; no id");
        init("one-errors", 4, 60000);
        init("one-errors", 4, 60000);
        for (int v : new int[] {0, 3})
            askAdd(v, "{'name':'one','partitions':[0,9]},{'name':'absent','partitions':[0]}");
        offByOne(() -> {
            for (int v = 0; v <= 3; v++)
                add(v, "one", 0);
        });
        withId("one-absent", () -> add(3, "one", 0));
        withId("", () -> add(3, "one", 0));
        say("what EndTxn refuses: wrong epoch, producer, id; no id");
        add(3, "one", 0);
        offByOne(() -> {
            for (int v = 0; v <= 4; v++)
                end(v, true);
        });
        withId("one-absent", () -> end(3, true));
        withId("", () -> end(3, true));
        say("what AddOffsetsToTxn refuses: likewise, and no group");
        offByOne(() -> {
            for (int v = 0; v <= 3; v++)
                addOffsets(v, "one-group");
        });
        withId("one-absent", () -> addOffsets(3, "one-group"));
        withId("", () -> addOffsets(3, "one-group"));
        addOffsets(3, "");
        say("what Produce refuses: a partition that was not added, a wrong epoch, producer, id; no id; another kind of batch");
        send(11, "one", 1, 0);
        offByOne(() -> send(11, "one", 0, 0));
        withId("one-absent", () -> send(11, "one", 0, 0));
        withId("", () -> send(11, "one", 0, 0));
        askProduce(11, null, "one", 0, batch(0));
        askProduce(11, id, "one", 0, array(MemoryRecords.withIdempotentRecords(Compression.NONE, producer, (short) epoch, 0,
            new SimpleRecord(T0, "k".getBytes(), "not transactional".getBytes()))));
        askProduce(11, id, "one", 0, array(MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(T0, "plain".getBytes()))));
        send(11, "one", 0, 5);
        send(11, "one", 0, 0);
        send(11, "one", 0, 0);
        send(11, "one", 0, 6);
        say("after the commit its partitions must be added anew");
        end(3, true);
        pause();
        send(11, "one", 0, 2);
        fetch("one", 0, 1, 0);
        fetch("one", 1, 1, 0);
        fetch("other", 0, 1, 0);
    }

    private void generationTwo() throws Exception {
        create("two", 2);
        String topic = topicId("two");
        init("two", 4, 60000);
        for (boolean commit : new boolean[] {true, false, true}) {
            say(commit ? "committed: the next epoch comes with the answer" : "aborted");
            send(12, "two", 0, 0);
            send(12, "two", 1, 0);
            send(12, "two", 1, 2);
            describe("two");
            end5(commit);
        }
        say("version 13 of Produce, by topic id");
        ask("Produce", 13, "{'transactionalId':'%s','acks':-1,'timeoutMs':5000,'topicData':[{'topicId':'%s','partitionData':["
            + "{'index':0,'records':'%s'}]}]}", id, topic, base64(batch(0)));
        say("the answer got lost: the same again with the old epoch; then the other way round");
        int old = epoch;
        end5(true);
        int now = epoch;
        epoch = old;
        end(5, true);
        end(5, false);
        end(4, true);
        say("the old epoch produces, adds offsets, ends; the sequence does not start at 0");
        send(12, "two", 0, 2);
        commitOffset(5, "two-group", "two", 1);
        epoch = now;
        send(12, "two", 0, 4);
        say("nothing was begun: an abort raises the epoch, a commit does not");
        init("two-empty", 4, 60000);
        end(5, true);
        end5(false);
        end5(false);
        end(5, true);
        send(12, "two", 0, 0);
        end5(true);
        end5(false);
        say("wrong epochs, producer, id; no id");
        send(12, "two", 0, 0);
        offByOne(() -> {
            end(5, true);
            send(12, "two", 0, 0);
            send(12, "two", 1, 0);
            commitOffset(5, "two-group", "two", 1);
        });
        withId("two-absent", () -> {
            end(5, true);
            send(12, "two", 0, 2);
            send(12, "two", 1, 0);
        });
        withId("", () -> {
            end(5, true);
            send(12, "two", 1, 0);
        });
        say("both generations in one transaction");
        add(3, "two", 1);
        send(11, "two", 1, 0);
        end(3, true);
        pause();
        send(12, "two", 0, 2);
        end5(true);
        say("between brokers: a partition verified, added; several transactions in one request");
        init("two-verify", 4, 60000);
        init("two-verify", 4, 60000);
        send(12, "two", 0, 0);
        for (int v : new int[] {4, 5}) {
            verify(v, true, "{'name':'two','partitions':[0]}");
            verify(v, true, "{'name':'two','partitions':[0,1]}");
            offByOne(() -> verify(v, true, "{'name':'two','partitions':[0]}"));
            withId("two-absent", () -> verify(v, true, "{'name':'two','partitions':[0]}"));
            withId("", () -> verify(v, true, "{'name':'two','partitions':[0]}"));
        }
        verify(4, false, "{'name':'two','partitions':[1]}");
        verify(5, false, "{'name':'two','partitions':[0,1,7]}");
        ask("AddPartitionsToTxn", 5, "{'transactions':[" + transaction(true, "{'name':'two','partitions':[0,1]}") + ","
            + "{'transactionalId':'two','producerId':77,'producerEpoch':0,'topics':[{'name':'two','partitions':[0]}]}]}");
        end5(false);
        say("a new incarnation while the transaction is open: the old one can neither go on nor end it");
        send(12, "two", 0, 0);
        old = epoch;
        init(id, 4, 60000);
        pause();
        init(id, 4, 60000);
        now = epoch;
        epoch = old;
        send(12, "two", 0, 2);
        end(5, true);
        epoch = now;
        send(12, "two", 0, 0);
        end5(true);
        fetch("two", 0, 1, 0);
        fetch("two", 1, 1, 0);
    }

    private void offsets() throws Exception {
        create("in", 2);
        for (int v = 0; v <= 5; v++) {
            String group = "og" + v;
            say("TxnOffsetCommit version " + v + ": pending, then there; pending, then gone");
            init("offsets-" + v, 4, 60000);
            for (boolean commit : new boolean[] {true, false}) {
                if (v < 5)
                    addOffsets(Math.min(v, 3), group);
                commitOffset(v, group, "in", commit ? 11 : 22);
                committed(7, group);
                committed(8, group);
                ask("OffsetFetch", 8, "{'groups':[{'groupId':'%s','topics':null}],'requireStable':true}", group);
                ask("OffsetFetch", 8, "{'groups':[{'groupId':'%s','topics':null}],'requireStable':false}", group);
                if (v < 5) {
                    end(Math.min(v, 4), commit);
                    pause();
                } else {
                    end5(commit);
                }
                committed(8, group);
            }
        }
        say("version 4 of AddOffsetsToTxn");
        addOffsets(4, "og5");
        end5(false);
        say("a plain commit beside a pending one; the later commit in the log wins");
        init("offsets-mixed", 4, 60000);
        commitOffset(5, "mixed", "in", 33);
        ask("OffsetCommit", 9, "{'groupId':'mixed','generationIdOrMemberEpoch':-1,'memberId':'','topics':[{'name':'in',"
            + "'partitions':[{'partitionIndex':0,'committedOffset':44,'committedMetadata':'plain'}]}]}");
        committed(8, "mixed");
        end5(true);
        committed(8, "mixed");
        say("two producers, one group: the second is pending when the first ends");
        commitOffset(5, "mixed", "in", 55);
        long first = producer;
        int firstEpoch = epoch;
        init("offsets-second", 4, 60000);
        commitOffset(5, "mixed", "in", 66);
        end5(true);
        committed(8, "mixed");
        id = "offsets-mixed";
        producer = first;
        epoch = firstEpoch;
        end5(true);
        committed(8, "mixed");
        say("refused: without AddOffsetsToTxn, no group, an unknown member or generation, metadata too long, unknown topic");
        init("offsets-errors", 4, 60000);
        commitOffset(3, "og0", "in", 1);
        addOffsets(3, "og0");
        commitOffset(3, "", "in", 1);
        commitOffset(3, "og1", "in", 1);
        for (int v : new int[] {3, 5}) {
            askCommit(v, "og0", 3, "nobody", "{'partitionIndex':0,'committedOffset':1}");
            askCommit(v, "og0", 3, "", "{'partitionIndex':0,'committedOffset':1}");
            askCommit(v, "og0", -1, "nobody", "{'partitionIndex':0,'committedOffset':1}");
            askCommit(v, "og0", -1, "", "{'partitionIndex':0,'committedOffset':5,'committedMetadata':'" + "m".repeat(4097)
                + "'},{'partitionIndex':1,'committedOffset':6},{'partitionIndex':9,'committedOffset':7}");
            ask("TxnOffsetCommit", v, "{'transactionalId':'%s','groupId':'og0','producerId':%d,'producerEpoch':%d,'topics':["
                + "{'name':'absent','partitions':[{'partitionIndex':0,'committedOffset':1}]}]}", id, producer, epoch);
        }
        end(3, false);
        pause();
        say("a member's offsets are taken in its generation only");
        JsonNode joined = ask("JoinGroup", 5, join(""));
        String member = joined.get("memberId").asText();
        joined = ask("JoinGroup", 5, join(member));
        int generation = joined.get("generationId").asInt();
        init("offsets-member", 4, 60000);
        addOffsets(3, "members");
        askCommit(3, "members", generation, member, "{'partitionIndex':0,'committedOffset':1}");
        ask("SyncGroup", 5, "{'groupId':'members','generationId':%d,'memberId':'%s','protocolType':'consumer',"
            + "'protocolName':'range','assignments':[{'memberId':'%s','assignment':'YQ=='}]}", generation, member, member);
        askCommit(3, "members", generation, member, "{'partitionIndex':0,'committedOffset':2}");
        askCommit(3, "members", generation + 1, member, "{'partitionIndex':0,'committedOffset':3}");
        askCommit(3, "members", generation, "other-" + member, "{'partitionIndex':0,'committedOffset':3}");
        askCommit(3, "members", -1, "", "{'partitionIndex':0,'committedOffset':4}");
        committed(8, "members");
        end(3, true);
        pause();
        committed(8, "members");
        say("deleting a group and offsets that are pending");
        addOffsets(3, "deleted");
        commitOffset(3, "deleted", "in", 9);
        ask("DeleteGroups", 2, "{'groupsNames':['deleted']}");
        end(3, true);
        pause();
        committed(8, "deleted");
        init("offsets-forgotten", 4, 60000);
        commitOffset(5, "forgotten", "in", 9);
        ask("OffsetCommit", 9, "{'groupId':'forgotten','generationIdOrMemberEpoch':-1,'memberId':'','topics':[{'name':'in',"
            + "'partitions':[{'partitionIndex':1,'committedOffset':8,'committedMetadata':'plain'}]}]}");
        ask("OffsetDelete", 0, "{'groupId':'forgotten','topics':[{'name':'in','partitions':[{'partitionIndex':0},"
            + "{'partitionIndex':1}]}]}");
        committed(8, "forgotten");
        commitOffset(5, "forgotten", "in", 10);
        end5(true);
        committed(8, "forgotten");
        say("a topic is deleted and made again while offsets of it are pending");
        create("gone", 1);
        commitOffset(5, "gone", "gone", 9);
        ask("DeleteTopics", 6, "{'topics':[{'name':'gone'}],'timeoutMs':5000}");
        Thread.sleep(1000);
        end5(true);
        create("gone", 1);
        ask("OffsetFetch", 8, "{'groups':[{'groupId':'gone','topics':[{'name':'gone','partitionIndexes':[0]}]}],"
            + "'requireStable':true}");
        ask("LeaveGroup", 5, "{'groupId':'members','members':[{'memberId':'%s','groupInstanceId':null}]}", member);
    }

    private void reads() throws Exception {
        create("r", 2);
        init("reads-a", 4, 60000);
        long a = producer;
        send(12, "r", 0, 0);
        plain("r", 0, 1);
        say("open: read_committed stops before it, read_uncommitted does not; in every version of Fetch and ListOffsets");
        String topic = topicId("r");
        for (int v = 4; v <= 18; v++)
            for (int isolation : new int[] {1, 0})
                fetch(v, "r", topic, 0, isolation, 0);
        for (int v = 2; v <= 11; v++)
            for (long at : new long[] {-1, -2, T0, T0 + 700000, -3})
                if (at != -3 || v >= 7)
                    listOffsets(v, "r", 0, 1, at);
        listOffsets(7, "r", 0, 0, -1);
        say("a fetch from the last stable offset, from between it and the high watermark, and from above");
        for (long offset : new long[] {0, 1, 2, 3, 4})
            fetch(12, "r", topic, 0, 1, offset);
        end5(false);
        say("aborted: its records are there, and its producer in the list");
        for (int v = 4; v <= 18; v++)
            for (int isolation : new int[] {1, 0})
                fetch(v, "r", topic, 0, isolation, 0);
        listOffsets(7, "r", 0, 1, -1);
        say("(a marker may have the highest timestamp)");
        listOffsets(7, "r", 0, 1, -3);
        listOffsets(7, "r", 0, 0, -3);
        for (long offset : new long[] {1, 2, 3, 4})
            fetch(12, "r", topic, 0, 1, offset);
        say("two producers, one inside the other: the last stable offset is the first of the open ones");
        send(12, "r", 0, 0);
        int epochA = epoch;
        init("reads-b", 4, 60000);
        send(12, "r", 0, 0);
        plain("r", 0, 1);
        end5(true);
        listOffsets(7, "r", 0, 1, -1);
        fetch(12, "r", topic, 0, 1, 4);
        send(12, "r", 0, 0);
        long b = producer;
        int epochB = epoch;
        id = "reads-a";
        producer = a;
        epoch = epochA;
        end5(false);
        listOffsets(7, "r", 0, 1, -1);
        fetch(12, "r", topic, 0, 1, 4);
        id = "reads-b";
        producer = b;
        epoch = epochB;
        end5(true);
        listOffsets(7, "r", 0, 1, -1);
        fetch(12, "r", topic, 0, 1, 0);
        say("in a session: nothing, then what was committed and aborted");
        String session = "{'maxWaitMs':0,'minBytes':1,'maxBytes':1000000,'isolationLevel':1,'sessionId':%d,'sessionEpoch':%d,"
            + "'topics':[%s],'forgottenTopicsData':[]}";
        String from = "{'topic':'r','partitions':[{'partition':1,'fetchOffset':%d,'partitionMaxBytes':1000000}]}";
        int s = ask("Fetch", 12, String.format(session, 0, 0, String.format(from, 0))).get("sessionId").asInt();
        send(12, "r", 1, 0);
        ask("Fetch", 12, String.format(session, s, 1, ""));
        end5(true);
        ask("Fetch", 12, String.format(session, s, 2, ""));
        send(12, "r", 1, 0);
        ask("Fetch", 12, String.format(session, s, 3, String.format(from, 3)));
        end5(false);
        ask("Fetch", 12, String.format(session, s, 4, ""));
        ask("Fetch", 12, String.format(session, s, 5, String.format(from, 6)));
        say("a client may not write markers itself");
        askProduce(12, id, "r", 1, sealed(batch(0), 22, 0x20));
    }

    private void admin() throws Exception {
        create("adm", 2);
        init("admin-empty", 4, 60000);
        init("admin-open", 4, 50000);
        send(12, "adm", 0, 0);
        send(12, "adm", 1, 0);
        long open = producer;
        int openEpoch = epoch;
        init("admin-done", 4, 60000);
        send(12, "adm", 0, 0);
        end5(true);
        init("admin-undone", 4, 60000);
        add(3, "adm", 1);
        send(11, "adm", 1, 0);
        end(3, false);
        pause();
        say("described: each state, an unknown id, an empty one, twice the same");
        describe("admin-empty", "admin-open", "admin-done", "admin-undone");
        describe("admin-absent", "");
        describe("admin-open", "admin-open");
        describe();
        say("listed: by state, producer, duration, pattern; an unknown state; a pattern that is none");
        String mine = "'transactionalIdPattern':'admin-.*'";
        for (int v = 0; v <= 1; v++)
            ask("ListTransactions", v, "{'stateFilters':['Empty'],'producerIdFilters':[%d,%d]}", open, producer);
        ask("ListTransactions", 2, "{" + mine + "}");
        ask("ListTransactions", 2, "{'stateFilters':['Ongoing','CompleteCommit']," + mine + "}");
        ask("ListTransactions", 2, "{'stateFilters':['Bogus','Ongoing','ongoing']," + mine + "}");
        ask("ListTransactions", 2, "{'stateFilters':['Bogus']," + mine + "}");
        ask("ListTransactions", 2, "{'producerIdFilters':[%d]," + mine + "}", open);
        ask("ListTransactions", 2, "{'durationFilter':600000," + mine + "}");
        ask("ListTransactions", 2, "{'transactionalIdPattern':'admin-(open|done)'}");
        ask("ListTransactions", 2, "{'transactionalIdPattern':'dmin'}");
        ask("ListTransactions", 2, "{'transactionalIdPattern':'(['}");
        ask("ListTransactions", 2, "{'stateFilters':['PrepareCommit','PrepareAbort','CompleteAbort','Dead','PrepareEpochFence'],"
            + mine + "}");
        say("producers of partitions; unknown topic and partition, an invalid name");
        ask("DescribeProducers", 0, "{'topics':[{'name':'adm','partitionIndexes':[0,1,5]},{'name':'absent','partitionIndexes':[0]},"
            + "{'name':'a b','partitionIndexes':[0]}]}");
        say("markers from outside end what is open in a partition; then the coordinator's own commit");
        id = "admin-open";
        producer = open;
        epoch = openEpoch;
        markers(1, "{'producerId':%d,'producerEpoch':%d,'transactionResult':false,'coordinatorEpoch':0,"
            + "'topics':[{'name':'adm','partitionIndexes':[0]}]}");
        fetch("adm", 0, 1, 0);
        ask("DescribeProducers", 0, "{'topics':[{'name':'adm','partitionIndexes':[0,1]}]}");
        markers(2, "{'producerId':%d,'producerEpoch':%d,'transactionResult':false,'coordinatorEpoch':0,'transactionVersion':2,"
            + "'topics':[{'name':'adm','partitionIndexes':[1]}]}");
        markers(2, "{'producerId':%d,'producerEpoch':%d,'transactionResult':false,'coordinatorEpoch':0,'transactionVersion':0,"
            + "'topics':[{'name':'adm','partitionIndexes':[1,7]},{'name':'absent','partitionIndexes':[0]}]}");
        epoch = openEpoch - 1;
        markers(1, "{'producerId':%d,'producerEpoch':%d,'transactionResult':false,'coordinatorEpoch':0,"
            + "'topics':[{'name':'adm','partitionIndexes':[0]}]}");
        epoch = openEpoch;
        markers(1, "{'producerId':%d,'producerEpoch':%d,'transactionResult':true,'coordinatorEpoch':-1,"
            + "'topics':[{'name':'adm','partitionIndexes':[0]}]}");
        ask("WriteTxnMarkers", 1, "{'markers':[]}");
        end5(true);
        ask("DescribeProducers", 0, "{'topics':[{'name':'adm','partitionIndexes':[0,1]}]}");
        fetch("adm", 0, 1, 0);
        fetch("adm", 1, 1, 0);
        say("a transaction that takes too long is aborted; in both generations; its producer hears of it");
        for (int v : new int[] {11, 12}) {
            create("slow" + v, 1);
            init("admin-slow" + v, 4, 1000);
            if (v < 12)
                add(3, "slow" + v, 0);
            send(v, "slow" + v, 0, 0);
            ask("Fetch", 12, "{'maxWaitMs':4500,'minBytes':1,'maxBytes':1000000,'isolationLevel':1,'topics':[{'topic':'slow" + v
                + "','partitions':[{'partition':0,'fetchOffset':0,'partitionMaxBytes':1000000}]}]}");
            pause();
            describe(id);
            send(v, "slow" + v, 0, 2);
            if (v < 12)
                add(3, "slow" + v, 0);
            end(v < 12 ? 4 : 5, true);
            end(v < 12 ? 4 : 5, false);
            askInit(id, 4, 60000, producer, epoch);
            init(id, 4, 60000);
            describe(id);
        }
    }

    // ---- one step ----------------------------------------------------------------------------------------------------

    private interface Step {
        void run() throws Exception;
    }

    // The first requests of a new broker are answered with "not available" while its internal topics are made.
    private void warm() throws Exception {
        create("warm", 1);
        while (askInit("warm", 4, 60000, -1, -1).get("errorCode").asInt() != 0)
            again("{'key':'warm','keyType':1}");
        while (ask("OffsetFetch", 7, "{'groupId':'warm','topics':[]}").get("errorCode").asInt() != 0)
            again("{'key':'warm','keyType':0}");
    }

    private void again(String coordinator) throws Exception {
        ask("FindCoordinator", 1, coordinator);
        Thread.sleep(500);
    }

    // A marker's time is now, a record's long ago: a segment that lasts a week would be rolled between them, and no fetch reads
    // across two segments.
    @Override
    void create(String topic, int partitions) throws Exception {
        ask("CreateTopics", 7, "{'topics':[{'name':'%s','numPartitions':%d,'replicationFactor':1,'configs':[{'name':'segment.ms',"
            + "'value':'9223372036854775807'}]}],'timeoutMs':5000}", topic, partitions);
        Thread.sleep(300);
    }

    private static void pause() throws InterruptedException {
        Thread.sleep(MARKERS_MS);
    }

    private void init(String id, int version, int timeoutMs) throws Exception {
        JsonNode answer = askInit(id, version, timeoutMs, -1, -1);
        this.id = id;
        if (answer.get("errorCode").asInt() == 0) {
            producer = answer.get("producerId").asLong();
            epoch = answer.get("producerEpoch").asInt();
        }
    }

    private JsonNode askInit(String id, int version, int timeoutMs, long producer, int epoch) throws Exception {
        return ask("InitProducerId", version, "{'transactionalId':'%s','transactionTimeoutMs':%d,'producerId':%d,"
            + "'producerEpoch':%d}", id, timeoutMs, producer, epoch);
    }

    // The same steps as a producer with an epoch too low, one too high, and with a producer id that is not its own.
    private void offByOne(Step step) throws Exception {
        for (int by : new int[] {-1, 1}) {
            epoch += by;
            step.run();
            epoch -= by;
        }
        producer += 500000;
        step.run();
        producer -= 500000;
    }

    private void withId(String other, Step step) throws Exception {
        String mine = id;
        id = other;
        step.run();
        id = mine;
    }

    private void add(int version, String topic, int... partitions) throws Exception {
        StringBuilder list = new StringBuilder();
        for (int p : partitions)
            list.append(list.length() == 0 ? "" : ",").append(p);
        askAdd(version, "{'name':'" + topic + "','partitions':[" + list + "]}");
    }

    private void askAdd(int version, String topics) throws Exception {
        ask("AddPartitionsToTxn", version, "{'v3AndBelowTransactionalId':'%s','v3AndBelowProducerId':%d,"
            + "'v3AndBelowProducerEpoch':%d,'v3AndBelowTopics':[%s]}", id, producer, epoch, topics);
    }

    private String transaction(boolean verifyOnly, String topics) {
        return String.format("{'transactionalId':'%s','producerId':%d,'producerEpoch':%d,'verifyOnly':%b,'topics':[%s]}", id,
            producer, epoch, verifyOnly, topics);
    }

    private void verify(int version, boolean verifyOnly, String topics) throws Exception {
        ask("AddPartitionsToTxn", version, "{'transactions':[" + transaction(verifyOnly, topics) + "]}");
    }

    private void addOffsets(int version, String group) throws Exception {
        ask("AddOffsetsToTxn", version, "{'transactionalId':'%s','producerId':%d,'producerEpoch':%d,'groupId':'%s'}", id, producer,
            epoch, group);
    }

    private void commitOffset(int version, String group, String topic, long offset) throws Exception {
        ask("TxnOffsetCommit", version, "{'transactionalId':'%s','groupId':'%s','producerId':%d,'producerEpoch':%d,'topics':["
            + "{'name':'%s','partitions':[{'partitionIndex':0,'committedOffset':%d,'committedMetadata':'m%d'}]}]}", id, group,
            producer, epoch, topic, offset, offset);
    }

    private void askCommit(int version, String group, int generation, String member, String partitions) throws Exception {
        ask("TxnOffsetCommit", version, "{'transactionalId':'%s','groupId':'%s','producerId':%d,'producerEpoch':%d,"
            + "'generationId':%d,'memberId':'%s','topics':[{'name':'in','partitions':[%s]}]}", id, group, producer, epoch,
            generation, member, partitions);
    }

    private void committed(int version, String group) throws Exception {
        ask("OffsetFetch", version, "{'groupId':'%s','topics':[{'name':'in','partitionIndexes':[0,1]}],'groups':[{'groupId':'%s',"
            + "'topics':[{'name':'in','partitionIndexes':[0,1]}]}],'requireStable':true}", group, group);
    }

    private static String join(String member) {
        return "{'groupId':'members','sessionTimeoutMs':30000,'rebalanceTimeoutMs':5000,'memberId':'" + member + "',"
            + "'protocolType':'consumer','protocols':[{'name':'range','metadata':'bWV0YQ=='}]}";
    }

    private JsonNode end(int version, boolean commit) throws Exception {
        return ask("EndTxn", version, "{'transactionalId':'%s','producerId':%d,'producerEpoch':%d,'committed':%b}", id, producer,
            epoch, commit);
    }

    // Ends, goes on with the epoch of the answer, and waits for the markers.
    private void end5(boolean commit) throws Exception {
        JsonNode answer = end(5, commit);
        if (answer.get("errorCode").asInt() == 0) {
            producer = answer.get("producerId").asLong();
            epoch = answer.get("producerEpoch").asInt();
        }
        pause();
    }

    private byte[] batch(int sequence) {
        return array(MemoryRecords.withTransactionalRecords(Compression.NONE, producer, (short) epoch, sequence,
            new SimpleRecord(T0 + sequence, "k".getBytes(), ("first " + id + " " + sequence).getBytes()),
            new SimpleRecord(T0 + sequence + 1, "k".getBytes(), ("second " + id + " " + sequence).getBytes())));
    }

    private void send(int version, String topic, int partition, int sequence) throws Exception {
        askProduce(version, id, topic, partition, batch(sequence));
    }

    private void askProduce(int version, String id, String topic, int partition, byte[] records) throws Exception {
        ask("Produce", version, "{'transactionalId':%s,'acks':-1,'timeoutMs':5000,'topicData':[{'name':'%s','partitionData':["
            + "{'index':%d,'records':'%s'}]}]}", id == null ? "null" : "'" + id + "'", topic, partition, base64(records));
    }

    private void plain(String topic, int partition, int seed) throws Exception {
        askProduce(9, null, topic, partition, array(MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(T0 + 500000 + seed, "k".getBytes(), ("plain " + seed).getBytes()))));
    }

    private void fetch(String topic, int partition, int isolation, long offset) throws Exception {
        fetch(12, topic, "AAAAAAAAAAAAAAAAAAAAAA", partition, isolation, offset);
    }

    private void fetch(int version, String topic, String topicId, int partition, int isolation, long offset) throws Exception {
        ask("Fetch", version, "{'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'isolationLevel':%d,'topics':[{'topic':'%s',"
            + "'topicId':'%s','partitions':[{'partition':%d,'currentLeaderEpoch':-1,'fetchOffset':%d,"
            + "'partitionMaxBytes':1000000}]}]}", isolation, topic, topicId, partition, offset);
    }

    private void listOffsets(int version, String topic, int partition, int isolation, long at) throws Exception {
        ask("ListOffsets", version, "{'replicaId':-1,'isolationLevel':%d,'timeoutMs':1000,'topics':[{'name':'%s','partitions':["
            + "{'partitionIndex':%d,'currentLeaderEpoch':-1,'timestamp':%d}]}]}", isolation, topic, partition, at);
    }

    private void offsetsOf(String topic, int partition) throws Exception {
        listOffsets(7, topic, partition, 1, -1);
        listOffsets(7, topic, partition, 0, -1);
    }

    private void describe(String... ids) throws Exception {
        String list = ids.length == 0 ? "" : "'" + String.join("','", ids) + "'";
        ask("DescribeTransactions", 0, "{'transactionalIds':[" + list + "]}");
    }

    private void markers(int version, String marker) throws Exception {
        ask("WriteTxnMarkers", version, "{'markers':[" + String.format(marker, producer, epoch) + "]}");
    }
}
