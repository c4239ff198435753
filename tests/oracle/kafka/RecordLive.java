// RecordLive HOST PORT OUTDIR [NAME...]: holds conversations (those of the names, or all) with a running broker and writes
// down both sides, byte by byte.
//
// A request is given as JSON in the shape of Kafka's own *JsonConverter classes; fields that are left out take their
// defaults, and fields that the version does not have are dropped, so that one text serves every version. The real message
// classes turn it into bytes. The answer is recorded as it came off the socket, with its reading by the same classes beside
// it. The conversations (methods below `main`) are the place to add a behaviour that is in doubt; those about transactions are
// in RecordTransactions.java.
//
// Run it through `kafka-goldens.sh live`; the format of the files is in the header that it writes.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.Map;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.AppInfoParser;

public class RecordLive {
    private static final ObjectMapper JSON = new ObjectMapper();
    static final long T0 = 1700000000000L;

    private final String host;
    private final int port;
    private final PrintStream out;
    Socket socket;
    private int correlation;

    RecordLive(String host, int port, Path file, String about) throws Exception {
        this.host = host;
        this.port = port;
        out = new PrintStream(Files.newOutputStream(file), false, StandardCharsets.UTF_8);
        out.println("# " + about);
        out.println("# oracle: a running Apache Kafka " + AppInfoParser.getVersion() + " broker");
        out.println("# command: tests/oracle/kafka-goldens.sh " + (getClass() == RecordLive.class ? "live" : "transactions"));
        out.println("# line: API_KEY VERSION request|response|closed|silent HEX JSON");
        out.println("#       HEX is the whole frame: length, header, body (- where the broker closed the connection, or had not");
        out.println("#       answered after five seconds)");
        out.println("#       ids, the cluster's name, member ids, ports and the time of appending differ from run to run");
        connect();
    }

    public static void main(String[] args) throws Exception {
        Files.createDirectories(Path.of(args[2]));
        record(args, "handshake", "the first requests of a connection", RecordLive::handshake);
        record(args, "topics", "topics made, described, grown and deleted", RecordLive::topics);
        record(args, "configs", "configurations of topic and broker", RecordLive::configs);
        record(args, "data", "records produced and fetched in every version", RecordLive::data);
        record(args, "produce-errors", "what Produce refuses", RecordLive::produceErrors);
        record(args, "idempotence", "sequences of idempotent producers", RecordLive::idempotence);
        record(args, "fetch-sessions", "incremental fetch sessions", RecordLive::fetchSessions);
        record(args, "groups", "classic consumer groups and their offsets", RecordLive::groups);
        record(args, "segments", "a log of several segments with dense indexes", RecordLive::segments);
        record(args, "delete-records", "records deleted before their time", RecordLive::deleteRecords);
        record(args, "alter-configs", "configurations of topic and broker changed", RecordLive::alterConfigs);
        record(args, "timestamps", "whose clock gives a record its time, and how far it may be off", RecordLive::timestamps);
    }

    private interface Conversation {
        void hold(RecordLive with) throws Exception;
    }

    private static void record(String[] args, String name, String about, Conversation conversation) throws Exception {
        if (args.length > 3 && !Arrays.asList(args).subList(3, args.length).contains(name))
            return;
        RecordLive r = new RecordLive(args[0], Integer.parseInt(args[1]), Path.of(args[2]).resolve(name + ".golden"), about);
        conversation.hold(r);
        r.close();
    }

    // ---- conversations -----------------------------------------------------------------------------------------------

    private void handshake() throws Exception {
        for (int v = 0; v <= 4; v++)
            ask("ApiVersions", v, "{'clientSoftwareName':'oracle','clientSoftwareVersion':'1.0'}");
        say("a software name that is not allowed");
        ask("ApiVersions", 3, "{'clientSoftwareName':'no spaces','clientSoftwareVersion':'1.0'}");
        say("a version above the highest: answered in version 0");
        raw("0012" + "0063" + "0000002a" + "0006" + hex("oracle") + "00" + "05" + hex("abcd") + "02" + hex("1") + "00", 18, 0);
        say("an unknown API key, a version below and above the supported ones: the connection closes");
        raw("03e7" + "0000" + "0000002b" + "0006" + hex("oracle"), 0, 0);
        raw("0000" + "0002" + "0000002c" + "0006" + hex("oracle") + "0001" + "00000000" + "00000000", 0, 2);
        raw("0003" + "000e" + "0000002d" + "0006" + hex("oracle") + "00" + "00000000", 3, 13);
        say("a body that ends too early: the connection closes");
        raw("0003" + "0001" + "0000002e" + "0006" + hex("oracle") + "0000" , 3, 1);
        say("a null client id");
        raw("0003" + "0001" + "0000002f" + "ffff" + "00000000", 3, 1);
    }

    private void topics() throws Exception {
        for (int v = 2; v <= 7; v++)
            ask("CreateTopics", v, """
                {'topics':[{'name':'t%d','numPartitions':2,'replicationFactor':1,
                  'configs':[{'name':'retention.ms','value':'-1'}]}],'timeoutMs':5000}""", v);
        say("only validated; the broker's defaults for partitions and replication factor; assigned by hand");
        ask("CreateTopics", 7, """
            {'topics':[{'name':'v7','numPartitions':1,'replicationFactor':1}],'timeoutMs':5000,'validateOnly':true}""");
        ask("CreateTopics", 7, """
            {'topics':[{'name':'d7','numPartitions':-1,'replicationFactor':-1}],'timeoutMs':5000}""");
        ask("CreateTopics", 7, """
            {'topics':[{'name':'m7','numPartitions':-1,'replicationFactor':-1,
              'assignments':[{'partitionIndex':0,'brokerIds':[1]},{'partitionIndex':1,'brokerIds':[1]}]}],'timeoutMs':5000}""");
        say("refused: exists, factor 3, no partitions, bad names, colliding name, unknown and bad configuration, twice, bad broker");
        String[] bad = {
            "{'name':'t7','numPartitions':1,'replicationFactor':1}",
            "{'name':'e1','numPartitions':1,'replicationFactor':3}",
            "{'name':'e2','numPartitions':0,'replicationFactor':1}",
            "{'name':'e3','numPartitions':1,'replicationFactor':0}",
            "{'name':'a b','numPartitions':1,'replicationFactor':1}",
            "{'name':'','numPartitions':1,'replicationFactor':1}",
            "{'name':'..','numPartitions':1,'replicationFactor':1}",
            "{'name':'" + "n".repeat(250) + "','numPartitions':1,'replicationFactor':1}",
            "{'name':'e4','numPartitions':1,'replicationFactor':1,'configs':[{'name':'no.such','value':'1'}]}",
            "{'name':'e5','numPartitions':1,'replicationFactor':1,'configs':[{'name':'retention.ms','value':'x'}]}",
            "{'name':'e6','numPartitions':1,'replicationFactor':1,'configs':[{'name':'cleanup.policy','value':'burn'}]}",
            "{'name':'e7','numPartitions':1,'replicationFactor':1,'configs':[{'name':'retention.ms','value':null}]}",
            "{'name':'e8','numPartitions':-1,'replicationFactor':-1,'assignments':[{'partitionIndex':0,'brokerIds':[9]}]}",
            "{'name':'e9','numPartitions':2,'replicationFactor':1,'assignments':[{'partitionIndex':0,'brokerIds':[1]}]}",
            "{'name':'e10','numPartitions':-1,'replicationFactor':-1,'assignments':[{'partitionIndex':1,'brokerIds':[1]}]}",
            "{'name':'e11','numPartitions':1,'replicationFactor':1},{'name':'e11','numPartitions':1,'replicationFactor':1}",
        };
        for (String topic : bad)
            ask("CreateTopics", 7, "{'topics':[" + topic + "],'timeoutMs':5000}");
        ask("CreateTopics", 7, "{'topics':[{'name':'with.dot','numPartitions':1,'replicationFactor':1}],'timeoutMs':5000}");
        ask("CreateTopics", 7, "{'topics':[{'name':'with_dot','numPartitions':1,'replicationFactor':1}],'timeoutMs':5000}");
        say("metadata of named topics, of an unknown one, of all, of none");
        String id = null;
        for (int v = 0; v <= 13; v++) {
            JsonNode answer = ask("Metadata", v, """
                {'topics':[{'name':'t7'},{'name':'absent'}],'allowAutoTopicCreation':false,
                 'includeTopicAuthorizedOperations':true,'includeClusterAuthorizedOperations':true}""");
            if (v >= 10)
                for (JsonNode topic : answer.get("topics"))
                    if (topic.get("name").asText().equals("t7"))
                        id = topic.get("topicId").asText();
            if (v >= 1)
                ask("Metadata", v, "{'topics':[],'allowAutoTopicCreation':false}");
        }
        ask("Metadata", 12, "{'topics':null,'allowAutoTopicCreation':false}");
        ask("Metadata", 0, "{'topics':[]}");
        say("by topic id, known and unknown; an invalid name; auto-creation");
        ask("Metadata", 12, "{'topics':[{'topicId':'%s','name':null}],'allowAutoTopicCreation':false}", id);
        ask("Metadata", 12, "{'topics':[{'topicId':'AAAAAAAAAAAAAAAAAAAABQ','name':null}],'allowAutoTopicCreation':false}");
        ask("Metadata", 12, "{'topics':[{'name':'a b'}],'allowAutoTopicCreation':true}");
        ask("Metadata", 12, "{'topics':[{'name':'auto'}],'allowAutoTopicCreation':true}");
        Thread.sleep(300);
        ask("Metadata", 12, "{'topics':[{'name':'auto'}],'allowAutoTopicCreation':true}");
        ask("Metadata", 12, "{'topics':[{'name':'auto'},{'name':'auto'}],'allowAutoTopicCreation':true}");
        say("more partitions");
        for (int v = 0; v <= 3; v++)
            ask("CreatePartitions", v, "{'topics':[{'name':'t%d','count':3,'assignments':null}],'timeoutMs':5000}", v + 2);
        String[] less = {"'name':'t7','count':1", "'name':'t7','count':2", "'name':'absent','count':9", "'name':'t7','count':0",
            "'name':'t7','count':3,'assignments':[{'brokerIds':[1]}]", "'name':'t6','count':4,'assignments':[{'brokerIds':[7]}]",
            "'name':'t6','count':5,'assignments':[{'brokerIds':[1]},{'brokerIds':[1]},{'brokerIds':[1]}]"};
        for (String topic : less)
            ask("CreatePartitions", 3, "{'topics':[{'assignments':null," + topic + "}],'timeoutMs':5000}");
        ask("CreatePartitions", 3, "{'topics':[{'name':'t7','count':9,'assignments':null}],'timeoutMs':5000,'validateOnly':true}");
        say("deletion by name, by id, of what is not there");
        for (int v = 1; v <= 5; v++)
            ask("DeleteTopics", v, "{'topicNames':['t%d','absent'],'timeoutMs':5000}", v + 1);
        ask("DeleteTopics", 6, "{'topics':[{'name':null,'topicId':'%s'}],'timeoutMs':5000}", id);
        ask("DeleteTopics", 6, "{'topics':[{'name':null,'topicId':'%s'}],'timeoutMs':5000}", id);
        ask("DeleteTopics", 6, "{'topics':[{'name':'m7','topicId':'AAAAAAAAAAAAAAAAAAAAAA'},{'name':'absent'}],'timeoutMs':5000}");
        ask("DeleteTopics", 6, "{'topics':[{'name':'d7','topicId':'AAAAAAAAAAAAAAAAAAAABQ'}],'timeoutMs':5000}");
        ask("DeleteTopics", 6, "{'topics':[{'name':'d7'},{'name':'d7'}],'timeoutMs':5000}");
    }

    private void configs() throws Exception {
        create("c", 1);
        for (int v = 1; v <= 4; v++) {
            ask("DescribeConfigs", v, """
                {'resources':[{'resourceType':2,'resourceName':'c','configurationKeys':['retention.ms','cleanup.policy','no.such']},
                  {'resourceType':2,'resourceName':'absent','configurationKeys':null}],
                 'includeSynonyms':true,'includeDocumentation':true}""");
        }
        ask("DescribeConfigs", 4, "{'resources':[{'resourceType':2,'resourceName':'c','configurationKeys':null}]}");
        ask("DescribeConfigs", 4, """
            {'resources':[{'resourceType':2,'resourceName':'c','configurationKeys':null}],
             'includeSynonyms':true,'includeDocumentation':true}""");
        ask("DescribeConfigs", 4, """
            {'resources':[{'resourceType':4,'resourceName':'1','configurationKeys':null}],'includeSynonyms':true}""");
        ask("DescribeConfigs", 4, "{'resources':[{'resourceType':4,'resourceName':'','configurationKeys':null}]}");
        ask("DescribeConfigs", 4, """
            {'resources':[{'resourceType':4,'resourceName':'7','configurationKeys':null},
              {'resourceType':4,'resourceName':'x','configurationKeys':null},
              {'resourceType':2,'resourceName':'a b','configurationKeys':null},
              {'resourceType':9,'resourceName':'c','configurationKeys':null}]}""");
        ask("DescribeConfigs", 4, "{'resources':[{'resourceType':2,'resourceName':'c','configurationKeys':[]}]}");
    }

    private void data() throws Exception {
        create("d", 2);
        String id = topicId("d");
        for (int v = 3; v <= 13; v++)
            ask("Produce", v, """
                {'acks':%d,'timeoutMs':5000,'topicData':[{'name':'d','topicId':'%s','partitionData':[
                  {'index':0,'records':'%s'}]}]}""", v % 2 == 1 ? -1 : 1, id, batch(CompressionType.NONE, v, 2));
        say("each compression, in one request for two partitions");
        for (CompressionType type : new CompressionType[] {CompressionType.GZIP, CompressionType.SNAPPY, CompressionType.LZ4,
            CompressionType.ZSTD})
            ask("Produce", 9, """
                {'acks':-1,'timeoutMs':5000,'topicData':[{'name':'d','partitionData':[{'index':0,'records':'%s'},
                  {'index':1,'records':'%s'}]}]}""", batch(type, 50, 3), batch(type, 60, 1));
        say("offsets: latest, earliest, by time, of the highest timestamp");
        for (int v = 1; v <= 11; v++)
            for (long at : new long[] {-1, -2, T0 + 5000, T0 + 999999999L, -3, -4, -5, -6})
                if (at >= -2 || v >= 7)
                    ask("ListOffsets", v, """
                        {'replicaId':-1,'isolationLevel':0,'timeoutMs':1000,'topics':[{'name':'d','partitions':[
                          {'partitionIndex':0,'currentLeaderEpoch':-1,'timestamp':%d}]}]}""", at);
        ask("ListOffsets", 7, """
            {'replicaId':-1,'topics':[{'name':'d','partitions':[{'partitionIndex':9,'timestamp':-1},
              {'partitionIndex':1,'currentLeaderEpoch':5,'timestamp':-1},{'partitionIndex':1,'currentLeaderEpoch':0,'timestamp':-1}]},
              {'name':'absent','partitions':[{'partitionIndex':0,'timestamp':-1}]}]}""");
        say("fetch from the start, from the middle of a batch, from the end, outside");
        for (int v = 4; v <= 18; v++) {
            fetch(v, id, 0, 1048576);
            fetch(v, id, 3, 1);
        }
        for (long offset : new long[] {34, 35, -1, 13})
            fetch(12, id, offset, 200);
        fetch(17, "AAAAAAAAAAAAAAAAAAAABQ", 0, 1000);
        ask("Fetch", 12, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':1000000,'topics':[{'topic':'absent','partitions':[
              {'partition':0,'fetchOffset':0,'partitionMaxBytes':1000}]},{'topic':'d','partitions':[
              {'partition':7,'fetchOffset':0,'partitionMaxBytes':1000},
              {'partition':1,'currentLeaderEpoch':4,'fetchOffset':0,'partitionMaxBytes':1000}]}]}""");
        say("read_committed, both partitions, limited as a whole");
        ask("Fetch", 12, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':100,'isolationLevel':1,'topics':[{'topic':'d','partitions':[
              {'partition':1,'fetchOffset':0,'partitionMaxBytes':1000},
              {'partition':0,'fetchOffset':0,'partitionMaxBytes':1000}]}]}""");
    }

    private void fetch(int version, String id, long offset, int bytes) throws Exception {
        ask("Fetch", version, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'d','topicId':'%s','partitions':[
              {'partition':0,'currentLeaderEpoch':0,'fetchOffset':%d,'partitionMaxBytes':%d}]}]}""", id, offset, bytes);
    }

    private void produceErrors() throws Exception {
        create("p", 1);
        ask("CreateTopics", 7, """
            {'topics':[{'name':'small','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'max.message.bytes','value':'100'}]},
              {'name':'compacted','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'cleanup.policy','value':'compact'}]},
              {'name':'appended','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'message.timestamp.type','value':'LogAppendTime'}]},
              {'name':'zstd','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'compression.type','value':'zstd'}]}],'timeoutMs':5000}""");
        byte[] good = bytes(CompressionType.NONE, 1, 3);
        say("unknown topic, unknown partition, no records, null records, acks 2, a batch larger than the topic's limit");
        produce("absent", 0, -1, good);
        produce("p", 5, -1, good);
        produce("p", 0, -1, new byte[0]);
        produceNull("p");
        produce("p", 0, 2, good);
        produce("small", 0, -1, good);
        say("a broken checksum, a wrong record count, a wrong last offset delta, a bad magic, a control batch, cut short");
        for (int[] change : new int[][] {{60, 1}, {17, 1}, {57 + 3, 1}, {23 + 3, 1}, {16, 1}}) {
            byte[] bad = good.clone();
            bad[change[0]] ^= change[1];
            produce("p", 0, -1, bad);
        }
        produce("p", 0, -1, sealed(good, 57 + 3, 1));
        produce("p", 0, -1, sealed(good, 23 + 3, 1));
        produce("p", 0, -1, sealed(good, 22, 0x20));
        produce("p", 0, -1, sealed(good, 22, 0x07));
        produce("p", 0, -1, sealed(good, 22, 0x10));
        produce("p", 0, -1, sealed(good, 16, 0x03));
        produce("p", 0, -1, Arrays.copyOf(good, good.length - 5));
        produce("p", 0, -1, Arrays.copyOf(good, 40));
        say("two batches in one request; a base offset other than 0 (ignored); trailing bytes");
        byte[] two = Arrays.copyOf(good, good.length * 2);
        System.arraycopy(good, 0, two, good.length, good.length);
        produce("p", 0, -1, two);
        byte[] shifted = good.clone();
        shifted[7] = 77;
        produce("p", 0, -1, shifted);
        produce("p", 0, -1, Arrays.copyOf(good, good.length + 7));
        say("no key in a compacted topic; the log's own time; recompression; timestamps too far ahead");
        produce("compacted", 0, -1, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(T0, null, "keyless".getBytes())));
        produce("compacted", 0, -1, good);
        produce("appended", 0, -1, good);
        produce("zstd", 0, -1, good);
        produce("p", 0, -1, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(4102444800000L /* the year 2100 */, "k".getBytes(), "ahead".getBytes())));
        produce("p", 0, -1, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(RecordBatch.NO_TIMESTAMP, "k".getBytes(), "no time".getBytes())));
        say("headers, null value, empty key; an old message format (magic 1)");
        produce("p", 0, -1, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(T0, new byte[0], null, new org.apache.kafka.common.header.Header[] {
                new org.apache.kafka.common.header.internals.RecordHeader("h", "x".getBytes()),
                new org.apache.kafka.common.header.internals.RecordHeader("h", null)})));
        produce("p", 0, -1, MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V1, Compression.NONE,
            new SimpleRecord(T0, "k".getBytes(), "old".getBytes())));
        say("acks 0 is not answered: the next request is");
        tell("Produce", 9, """
            {'acks':0,'timeoutMs':5000,'topicData':[{'name':'p','partitionData':[{'index':0,'records':'%s'}]}]}""",
            batch(CompressionType.NONE, 5, 1));
        ask("ListOffsets", 7, "{'replicaId':-1,'topics':[{'name':'p','partitions':[{'partitionIndex':0,'timestamp':-1}]}]}");
        for (String topic : new String[] {"p", "appended", "zstd"})
            ask("Fetch", 12, """
                {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'%s','partitions':[
                  {'partition':0,'fetchOffset':0,'partitionMaxBytes':1000000}]}]}""", topic);
        say("a transactional producer that never began a transaction");
        ask("Produce", 9, """
            {'transactionalId':'tx','acks':-1,'timeoutMs':5000,'topicData':[{'name':'p','partitionData':[{'index':0,
              'records':'%s'}]}]}""", base64(good));
        say("acks 0 and an error: the connection closes");
        tell("Produce", 9, """
            {'acks':0,'timeoutMs':5000,'topicData':[{'name':'absent','partitionData':[{'index':0,'records':'%s'}]}]}""",
            batch(CompressionType.NONE, 5, 1));
        ask("ListOffsets", 7, "{'replicaId':-1,'topics':[{'name':'p','partitions':[{'partitionIndex':0,'timestamp':-1}]}]}");
    }

    // Rolled by time, since a segment's size cannot be set below 1 MiB; a deleted prefix moves the log start.
    private void segments() throws Exception {
        ask("CreateTopics", 7, """
            {'topics':[{'name':'seg','numPartitions':1,'replicationFactor':1,'configs':[{'name':'segment.ms','value':'60000'},
              {'name':'segment.jitter.ms','value':'0'},{'name':'index.interval.bytes','value':'200'}]}],'timeoutMs':5000}""");
        Thread.sleep(300);
        long p = ask("InitProducerId", 4, "{'transactionalId':null,'transactionTimeoutMs':60000,'producerId':-1,"
            + "'producerEpoch':-1}").get("producerId").asLong();
        for (int i = 0; i < 24; i++) {
            if (i % 4 == 3)
                produce("seg", 0, -1, idempotent(p, 0, i / 4 * 2));
            else
                produce("seg", 0, -1, bytes(CompressionType.values()[i % 5], i * 20, 2 + i % 3));
        }
        ask("DeleteRecords", 2, "{'topics':[{'name':'seg','partitions':[{'partitionIndex':0,'offset':5}]}],'timeoutMs':5000}");
        for (long at : new long[] {-2, -1, T0 + 100000, T0 + 300001, -3})
            ask("ListOffsets", 7, """
                {'replicaId':-1,'topics':[{'name':'seg','partitions':[{'partitionIndex':0,'timestamp':%d}]}]}""", at);
        for (int offset : new int[] {0, 5, 20, 41})
            ask("Fetch", 12, """
                {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'seg','partitions':[
                  {'partition':0,'fetchOffset':%d,'partitionMaxBytes':300}]}]}""", offset);
    }

    private void deleteRecords() throws Exception {
        ask("CreateTopics", 7, """
            {'topics':[{'name':'del','numPartitions':2,'replicationFactor':1},
              {'name':'del-compact','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'cleanup.policy','value':'compact'}]},
              {'name':'del-both','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'cleanup.policy','value':'compact,delete'}]}],'timeoutMs':5000}""");
        Thread.sleep(300);
        for (int i = 0; i < 4; i++)
            produce("del", 0, -1, bytes(CompressionType.NONE, i, 3));
        produce("del-compact", 0, -1, bytes(CompressionType.NONE, 1, 3));
        produce("del-both", 0, -1, bytes(CompressionType.NONE, 1, 3));
        say("each version, each a record further; the same again; what is deleted already");
        for (int v = 0; v <= 2; v++)
            delete(v, "del", 0, v + 1);
        delete(2, "del", 0, 3);
        delete(2, "del", 0, 0);
        say("where it begins now: offsets, a fetch below, a fetch in the middle of a batch, what Produce says of it");
        for (long at : new long[] {-2, -1, T0, -3, -4})
            ask("ListOffsets", 8, """
                {'replicaId':-1,'topics':[{'name':'del','partitions':[{'partitionIndex':0,'timestamp':%d}]}]}""", at);
        for (int offset : new int[] {0, 2, 3, 4})
            ask("Fetch", 12, """
                {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'del','partitions':[
                  {'partition':0,'fetchOffset':%d,'partitionMaxBytes':300}]}]}""", offset);
        delete(2, "del", 0, 4);
        ask("Fetch", 12, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'del','partitions':[
              {'partition':0,'fetchOffset':4,'partitionMaxBytes':300}]}]}""");
        produce("del", 0, -1, bytes(CompressionType.NONE, 9, 2));
        say("beyond the high watermark, negative, up to the high watermark, of an empty partition");
        delete(2, "del", 0, 15);
        delete(2, "del", 0, -2);
        delete(2, "del", 0, 14);
        delete(2, "del", 0, -1);
        delete(2, "del", 1, -1);
        delete(2, "del", 1, 0);
        delete(2, "del", 1, 1);
        for (long at : new long[] {-2, -1, T0, -3})
            ask("ListOffsets", 8, """
                {'replicaId':-1,'topics':[{'name':'del','partitions':[{'partitionIndex':0,'timestamp':%d}]}]}""", at);
        ask("Fetch", 12, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'del','partitions':[
              {'partition':0,'fetchOffset':14,'partitionMaxBytes':300}]}]}""");
        produce("del", 0, -1, bytes(CompressionType.NONE, 10, 2));
        say("unknown topic and partition, compacted topics, several in one request, one twice");
        delete(2, "absent", 0, 0);
        delete(2, "del", 7, 0);
        delete(2, "del-compact", 0, 1);
        delete(2, "del-both", 0, 1);
        ask("DeleteRecords", 2, """
            {'topics':[{'name':'del','partitions':[{'partitionIndex':0,'offset':15},{'partitionIndex':1,'offset':0},
              {'partitionIndex':5,'offset':0}]},{'name':'del-both','partitions':[{'partitionIndex':0,'offset':-1}]},
              {'name':'absent','partitions':[{'partitionIndex':0,'offset':0}]}],'timeoutMs':5000}""");
        ask("DeleteRecords", 2, "{'topics':[],'timeoutMs':5000}");
    }

    private void delete(int version, String topic, int partition, long offset) throws Exception {
        ask("DeleteRecords", version, """
            {'topics':[{'name':'%s','partitions':[{'partitionIndex':%d,'offset':%d}]}],'timeoutMs':5000}""", topic, partition,
            offset);
    }

    private static final int SET = 0, DELETE = 1, APPEND = 2, SUBTRACT = 3;

    private void alterConfigs() throws Exception {
        create("ac", 1);
        say("AlterConfigs: all that the topic has of its own is what the request says");
        for (int v = 0; v <= 2; v++) {
            alter(v, 2, "ac", "{'name':'retention.ms','value':'%d'},{'name':'segment.bytes','value':'2000000'}", 1000000 + v);
            described("ac");
        }
        alter(2, 2, "ac", "{'name':'max.message.bytes','value':'100'}");
        described("ac");
        say("in force at once");
        produce("ac", 0, -1, bytes(CompressionType.NONE, 1, 3));
        alter(2, 2, "ac", "");
        described("ac");
        produce("ac", 0, -1, bytes(CompressionType.NONE, 1, 3));
        say("only validated");
        ask("AlterConfigs", 2, """
            {'resources':[{'resourceType':2,'resourceName':'ac','configs':[{'name':'retention.ms','value':'5'}]}],
             'validateOnly':true}""");
        described("ac");
        say("refused: unknown key, bad values, no value, a topic that is not there, bad names, types of resource, twice");
        String[] bad = {"'no.such','value':'1'", "'retention.ms','value':'x'", "'retention.ms','value':'-2'", "'retention.ms','value':null",
            "'segment.bytes','value':'13'", "'cleanup.policy','value':'burn'", "'cleanup.policy','value':''",
            "'compression.type','value':'rar'", "'min.cleanable.dirty.ratio','value':'1.5'", "'preallocate','value':'maybe'",
            "'message.timestamp.type','value':'Never'", "'segment.ms','value':'0'", "'remote.storage.enable','value':'true'"};
        for (String entry : bad)
            alter(2, 2, "ac", "{'name':" + entry + "}");
        alter(2, 2, "absent", "{'name':'retention.ms','value':'1'}");
        alter(2, 2, "a b", "{'name':'retention.ms','value':'1'}");
        alter(2, 9, "ac", "{'name':'retention.ms','value':'1'}");
        ask("AlterConfigs", 2, """
            {'resources':[{'resourceType':2,'resourceName':'ac','configs':[{'name':'retention.ms','value':'5'}]},
              {'resourceType':2,'resourceName':'ac','configs':[{'name':'retention.ms','value':'6'}]}]}""");
        alter(2, 2, "ac", "{'name':'retention.ms','value':'1'},{'name':'retention.ms','value':'2'}");
        described("ac");

        say("IncrementalAlterConfigs: set, set more, delete, append, subtract");
        for (int v = 0; v <= 1; v++)
            change(v, 2, "ac", entry("retention.ms", SET, "'20000" + v + "'"));
        change(1, 2, "ac", entry("segment.bytes", SET, "'3000000'") + "," + entry("retention.bytes", SET, "'-1'"));
        described("ac");
        change(1, 2, "ac", entry("segment.bytes", DELETE, "null"));
        change(1, 2, "ac", entry("retention.bytes", DELETE, "'ignored'"));
        change(1, 2, "ac", entry("flush.ms", DELETE, "null"));
        described("ac");
        change(1, 2, "ac", entry("cleanup.policy", APPEND, "'compact'"));
        described("ac");
        change(1, 2, "ac", entry("cleanup.policy", APPEND, "'compact'"));
        described("ac");
        say("compacted, at once: a record without a key");
        produce("ac", 0, -1, MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(T0, null, "keyless".getBytes())));
        change(1, 2, "ac", entry("cleanup.policy", SUBTRACT, "'delete'"));
        described("ac");
        change(1, 2, "ac", entry("cleanup.policy", SUBTRACT, "'compact'"));
        described("ac");
        change(1, 2, "ac", entry("cleanup.policy", SET, "'compact,delete'"));
        change(1, 2, "ac", entry("cleanup.policy", SUBTRACT, "'delete,nothing'"));
        described("ac");
        change(1, 2, "ac", entry("cleanup.policy", DELETE, "null"));
        say("refused: appended to what is no list, no value, an unknown operation, one key twice, unknown key, bad value");
        change(1, 2, "ac", entry("retention.ms", APPEND, "'1'"));
        change(1, 2, "ac", entry("retention.ms", SUBTRACT, "'1'"));
        change(1, 2, "ac", entry("retention.ms", SET, "null"));
        change(1, 2, "ac", entry("cleanup.policy", APPEND, "null"));
        change(1, 2, "ac", entry("retention.ms", 9, "'1'"));
        change(1, 2, "ac", entry("retention.ms", SET, "'1'") + "," + entry("retention.ms", DELETE, "null"));
        change(1, 2, "ac", entry("no.such", SET, "'1'"));
        change(1, 2, "ac", entry("no.such", DELETE, "null"));
        change(1, 2, "ac", entry("retention.ms", SET, "'soon'"));
        change(1, 2, "ac", entry("cleanup.policy", APPEND, "'burn'"));
        change(1, 2, "absent", entry("retention.ms", SET, "'1'"));
        change(1, 2, "a b", entry("retention.ms", SET, "'1'"));
        change(1, 2, "", entry("retention.ms", SET, "'1'"));
        change(1, 9, "ac", entry("retention.ms", SET, "'1'"));
        change(1, 2, "ac", "");
        say("one of two is good: it is changed, in its own; only validated");
        ask("IncrementalAlterConfigs", 1, """
            {'resources':[{'resourceType':2,'resourceName':'ac','configs':[%s]},
              {'resourceType':2,'resourceName':'absent','configs':[%s]}]}""", entry("retention.ms", SET, "'300'"),
            entry("retention.ms", SET, "'1'"));
        ask("IncrementalAlterConfigs", 1, """
            {'resources':[{'resourceType':2,'resourceName':'ac','configs':[%s]}],'validateOnly':true}""",
            entry("retention.ms", SET, "'400'"));
        described("ac");

        say("the broker's: of all brokers, of this one; what it was started with only; unknown; another broker");
        for (String name : new String[] {"", "1"}) {
            change(1, 4, name, entry("log.retention.ms", SET, "'86400000'"));
            brokerDescribed(name);
            change(1, 4, name, entry("log.retention.ms", DELETE, "null"));
            brokerDescribed(name);
        }
        change(1, 4, "", entry("message.max.bytes", SET, "'2000000'"));
        create("ac2", 1);
        ask("DescribeConfigs", 4, """
            {'resources':[{'resourceType':2,'resourceName':'ac2','configurationKeys':['max.message.bytes']}],
             'includeSynonyms':true}""");
        alter(2, 4, "", "{'name':'message.max.bytes','value':'1900000'}");
        brokerDescribed("");
        alter(2, 4, "", "");
        brokerDescribed("");
        change(1, 4, "1", entry("broker.id", SET, "'7'"));
        change(1, 4, "1", entry("auto.create.topics.enable", SET, "'false'"));
        change(1, 4, "", entry("log.retention.ms", SET, "'never'"));
        change(1, 4, "", entry("no.such", SET, "'1'"));
        change(1, 4, "", entry("no.such", DELETE, "null"));
        change(1, 4, "7", entry("log.retention.ms", SET, "'1'"));
        change(1, 4, "x", entry("log.retention.ms", SET, "'1'"));
        alter(2, 4, "7", "{'name':'log.retention.ms','value':'1'}");
        alter(2, 4, "1", "{'name':'broker.id','value':'7'}");
        ask("IncrementalAlterConfigs", 1, """
            {'resources':[{'resourceType':4,'resourceName':'','configs':[%s]}],'validateOnly':true}""",
            entry("log.retention.ms", SET, "'4000'"));
        change(1, 4, "", entry("message.max.bytes", DELETE, "null"));
        brokerDescribed("");
    }

    private static String entry(String name, int operation, String value) {
        return "{'name':'" + name + "','configOperation':" + operation + ",'value':" + value + "}";
    }

    private void alter(int version, int type, String name, String entries, Object... values) throws Exception {
        ask("AlterConfigs", version, "{'resources':[{'resourceType':" + type + ",'resourceName':'" + name + "','configs':["
            + entries + "]}]}", values);
    }

    private void change(int version, int type, String name, String entries) throws Exception {
        ask("IncrementalAlterConfigs", version, "{'resources':[{'resourceType':" + type + ",'resourceName':'" + name
            + "','configs':[" + entries + "]}]}");
    }

    // In KRaft a change is in the metadata log when it is answered, and with the broker a moment later.
    private void described(String topic) throws Exception {
        Thread.sleep(300);
        ask("DescribeConfigs", 4, """
            {'resources':[{'resourceType':2,'resourceName':'%s','configurationKeys':['segment.bytes','retention.bytes',
              'cleanup.policy','max.message.bytes']}]}""", topic);
    }

    private void brokerDescribed(String name) throws Exception {
        Thread.sleep(300);
        ask("DescribeConfigs", 4, """
            {'resources':[{'resourceType':4,'resourceName':'%s','configurationKeys':['message.max.bytes','log.segment.bytes']}],
             'includeSynonyms':true}""", name);
    }

    private void timestamps() throws Exception {
        ask("CreateTopics", 7, """
            {'topics':[{'name':'lat','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'message.timestamp.type','value':'LogAppendTime'}]},
              {'name':'before','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'message.timestamp.before.max.ms','value':'3600000'}]},
              {'name':'after','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'message.timestamp.after.max.ms','value':'0'}]},
              {'name':'both','numPartitions':1,'replicationFactor':1,
              'configs':[{'name':'message.timestamp.type','value':'LogAppendTime'},
                {'name':'message.timestamp.before.max.ms','value':'1000'}]},
              {'name':'plain','numPartitions':1,'replicationFactor':1}],'timeoutMs':5000}""");
        Thread.sleep(300);
        say("the log's clock, in each compression");
        for (CompressionType type : CompressionType.values())
            produce("lat", 0, -1, bytes(type, 1, 3));
        for (int offset : new int[] {0, 4, 14})
            fetchAll("lat", offset);
        say("no timestamp, one far ahead, one of long ago");
        for (long at : new long[] {RecordBatch.NO_TIMESTAMP, 4102444800000L, 0}) {
            byte[] records = array(MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(at, "k".getBytes(), "v".getBytes())));
            for (String topic : new String[] {"lat", "both", "plain", "before", "after"})
                produce(topic, 0, -1, records);
        }
        say("a producer that says LogAppendTime itself");
        byte[] claimed = sealed(bytes(CompressionType.NONE, 2, 2), 22, 8);
        for (String topic : new String[] {"lat", "plain"})
            produce(topic, 0, -1, claimed);
        say("too old in a compressed batch, one record of three");
        for (CompressionType type : new CompressionType[] {CompressionType.NONE, CompressionType.GZIP}) {
            SimpleRecord[] records = new SimpleRecord[3];
            for (int i = 0; i < 3; i++)
                records[i] = new SimpleRecord(i == 1 ? T0 : System.currentTimeMillis(), "k".getBytes(), ("v" + i).getBytes());
            produce("before", 0, -1, MemoryRecords.withRecords(Compression.of(type).build(), records));
        }
        say("the clock of a topic is changed: what is there keeps its time");
        produce("plain", 0, -1, bytes(CompressionType.NONE, 3, 2));
        change(1, 2, "plain", entry("message.timestamp.type", SET, "'LogAppendTime'"));
        Thread.sleep(300);
        produce("plain", 0, -1, bytes(CompressionType.GZIP, 4, 2));
        fetchAll("plain", 0);
        for (String topic : new String[] {"lat", "plain"})
            ask("ListOffsets", 8, """
                {'replicaId':-1,'topics':[{'name':'%s','partitions':[{'partitionIndex':0,'timestamp':%d}]}]}""", topic, T0);
    }

    private void fetchAll(String topic, int offset) throws Exception {
        ask("Fetch", 12, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'%s','partitions':[
              {'partition':0,'fetchOffset':%d,'partitionMaxBytes':1000000}]}]}""", topic, offset);
    }

    private void idempotence() throws Exception {
        create("i", 1);
        for (int v = 0; v <= 5; v++)
            ask("InitProducerId", v, "{'transactionalId':null,'transactionTimeoutMs':60000,'producerId':-1,'producerEpoch':-1}");
        long p = ask("InitProducerId", 4, "{'transactionalId':null,'transactionTimeoutMs':60000,'producerId':-1,"
            + "'producerEpoch':-1}").get("producerId").asLong();
        say("in sequence; the same again (a duplicate is acknowledged with its first offset); a gap; an older duplicate");
        int[] sequences = {0, 2, 2, 0, 7, 4, 6, 8, 10, 12, 2};
        for (int sequence : sequences)
            produce("i", 0, -1, idempotent(p, 0, sequence));
        say("the next epoch begins at 0; the old one is fenced; a new epoch must begin at 0");
        produce("i", 0, -1, idempotent(p, 1, 5));
        produce("i", 0, -1, idempotent(p, 1, 0));
        produce("i", 0, -1, idempotent(p, 0, 14));
        say("a producer id that the partition does not know, beginning anywhere");
        produce("i", 0, -1, idempotent(p + 1000, 0, 40));
        produce("i", 0, -1, idempotent(p + 1000, 0, 42));
        say("the sequence wraps at 2^31");
        produce("i", 0, -1, idempotent(p + 2000, 0, Integer.MAX_VALUE - 1));
        produce("i", 0, -1, idempotent(p + 2000, 0, 0));
        produce("i", 0, -1, idempotent(p + 2000, 0, Integer.MAX_VALUE));
        produce("i", 0, -1, idempotent(p + 3000, 0, Integer.MAX_VALUE));
        produce("i", 0, -1, idempotent(p + 3000, 0, 1));
        say("an epoch bumped by the producer; InitProducerId with an unknown id");
        ask("InitProducerId", 4, "{'transactionalId':null,'transactionTimeoutMs':60000,'producerId':%d,'producerEpoch':0}", p);
        ask("InitProducerId", 4, "{'transactionalId':'','transactionTimeoutMs':60000,'producerId':-1,'producerEpoch':-1}");
        say("two idempotent batches for one partition in one request");
        byte[] a = array(idempotent(p, 1, 2));
        byte[] b = array(idempotent(p, 1, 4));
        byte[] two = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, two, a.length, b.length);
        produce("i", 0, -1, two);
        ask("Fetch", 12, """
            {'maxWaitMs':0,'minBytes':1,'maxBytes':52428800,'topics':[{'topic':'i','partitions':[
              {'partition':0,'fetchOffset':0,'partitionMaxBytes':1000000}]}]}""");
    }

    private void fetchSessions() throws Exception {
        create("s", 2);
        produce("s", 0, -1, bytes(CompressionType.NONE, 1, 2));
        String all = "{'maxWaitMs':%d,'minBytes':1,'maxBytes':1000000,'sessionId':%d,'sessionEpoch':%d,'topics':[%s],"
            + "'forgottenTopicsData':[%s]}";
        String zero = "{'topic':'s','partitions':[{'partition':%d,'fetchOffset':%d,'partitionMaxBytes':1000000}]}";
        String both = "{'topic':'s','partitions':[{'partition':0,'fetchOffset':0,'partitionMaxBytes':1000000},"
            + "{'partition':1,'fetchOffset':0,'partitionMaxBytes':1000000}]}";
        say("a session is made; it sends only what is new; a changed offset; nothing changed");
        int id = ask("Fetch", 12, String.format(all, 0, 0, 0, both, "")).get("sessionId").asInt();
        ask("Fetch", 12, String.format(all, 0, id, 1, String.format(zero, 0, 2), ""));
        ask("Fetch", 12, String.format(all, 0, id, 2, "", ""));
        produce("s", 1, -1, bytes(CompressionType.NONE, 2, 1));
        ask("Fetch", 12, String.format(all, 0, id, 3, "", ""));
        say("a partition is forgotten");
        produce("s", 0, -1, bytes(CompressionType.NONE, 3, 1));
        ask("Fetch", 12, String.format(all, 0, id, 4, "", "{'topic':'s','partitions':[0]}"));
        say("a wrong epoch, an unknown session, closing it (epoch -1), asking it again");
        ask("Fetch", 12, String.format(all, 0, id, 99, "", ""));
        ask("Fetch", 12, String.format(all, 0, 12345, 1, "", ""));
        ask("Fetch", 12, String.format(all, 0, id, -1, both, ""));
        ask("Fetch", 12, String.format(all, 0, id, 5, "", ""));
        say("an error inside a session; a topic that does not exist");
        id = ask("Fetch", 12, String.format(all, 0, 0, 0, String.format(zero, 0, 99), "")).get("sessionId").asInt();
        ask("Fetch", 12, String.format(all, 0, id, 1, "", ""));
        ask("Fetch", 12, String.format(all, 0, 0, 0, "{'topic':'absent','partitions':[{'partition':0,'fetchOffset':0,"
            + "'partitionMaxBytes':1000}]}", ""));
        say("no partitions at all");
        ask("Fetch", 12, String.format(all, 0, 0, 0, "", ""));
        say("by topic id in version 17");
        String tid = topicId("s");
        String byId = "{'topicId':'" + tid + "','partitions':[{'partition':0,'fetchOffset':%d,'partitionMaxBytes':1000000}]}";
        id = ask("Fetch", 17, String.format(all, 0, 0, 0, String.format(byId, 0), "")).get("sessionId").asInt();
        ask("Fetch", 17, String.format(all, 0, id, 1, String.format(byId, 3), ""));
    }

    private void groups() throws Exception {
        create("g", 3);
        String tid = topicId("g");
        ask("FindCoordinator", 0, "{'key':'warm'}");
        Thread.sleep(1500);
        for (int v = 0; v <= 6; v++)
            if (v < 4)
                ask("FindCoordinator", v, "{'key':'group','keyType':0}");
            else
                ask("FindCoordinator", v, "{'keyType':0,'coordinatorKeys':['group','other']}");
        ask("FindCoordinator", 4, "{'keyType':9,'coordinatorKeys':['group']}");
        ask("FindCoordinator", 4, "{'keyType':0,'coordinatorKeys':['']}");
        for (int v = 0; v <= 9; v++)
            oneGroup(v, tid);
        say("what is refused: no group id, bad session timeouts, no protocols, an unknown member, another protocol type");
        ask("JoinGroup", 7, join("", "", 10000, "consumer", "range"));
        ask("JoinGroup", 7, join("bad", "", 1, "consumer", "range"));
        ask("JoinGroup", 7, join("bad", "", 10000000, "consumer", "range"));
        ask("JoinGroup", 7, "{'groupId':'bad','sessionTimeoutMs':10000,'rebalanceTimeoutMs':5000,'memberId':'',"
            + "'protocolType':'consumer','protocols':[]}");
        ask("JoinGroup", 7, join("bad", "unknown-member", 10000, "consumer", "range"));
        ask("JoinGroup", 3, join("bad", "unknown-member", 10000, "consumer", "range"));
        ask("SyncGroup", 5, "{'groupId':'bad','generationId':1,'memberId':'m','protocolType':'consumer','protocolName':'range'}");
        ask("Heartbeat", 4, "{'groupId':'bad','generationId':1,'memberId':'m'}");
        ask("Heartbeat", 4, "{'groupId':'','generationId':1,'memberId':'m'}");
        ask("LeaveGroup", 5, "{'groupId':'bad','members':[{'memberId':'m'}]}");
        ask("LeaveGroup", 5, "{'groupId':'group9','members':[{'memberId':'m'},{'memberId':'','groupInstanceId':'no'}]}");
        ask("OffsetCommit", 9, "{'groupId':'bad','generationIdOrMemberEpoch':3,'memberId':'m','topics':[{'name':'g','partitions':["
            + "{'partitionIndex':0,'committedOffset':1}]}]}");
        ask("OffsetCommit", 9, "{'groupId':'','generationIdOrMemberEpoch':-1,'memberId':'','topics':[{'name':'g','partitions':["
            + "{'partitionIndex':0,'committedOffset':1}]}]}");
        ask("OffsetFetch", 8, "{'groups':[{'groupId':'absent','topics':[{'name':'g','partitionIndexes':[0]}]}]}");
        ask("OffsetFetch", 8, "{'groups':[{'groupId':'absent','topics':null},{'groupId':'group9','topics':null}],"
            + "'requireStable':true}");
        ask("DescribeGroups", 6, "{'groups':['absent',''],'includeAuthorizedOperations':true}");
        ask("DescribeGroups", 5, "{'groups':['absent'],'includeAuthorizedOperations':true}");
        say("offsets of a group without members; metadata too long; an unknown topic and partition");
        ask("OffsetCommit", 9, """
            {'groupId':'simple','generationIdOrMemberEpoch':-1,'memberId':'','topics':[
              {'name':'g','partitions':[{'partitionIndex':0,'committedOffset':11,'committedMetadata':'note'},
              {'partitionIndex':1,'committedOffset':12,'committedMetadata':'%s'},
              {'partitionIndex':9,'committedOffset':13,'committedMetadata':''}]},
              {'name':'absent','partitions':[{'partitionIndex':0,'committedOffset':1,'committedMetadata':null}]}]}""",
            "m".repeat(4097));
        ask("OffsetFetch", 8, "{'groups':[{'groupId':'simple','topics':null}]}");
        ask("DescribeGroups", 5, "{'groups':['simple']}");
        ask("ListGroups", 5, "{'statesFilter':['Empty'],'typesFilter':['classic']}");
        ask("ListGroups", 5, "{'statesFilter':['Bogus'],'typesFilter':[]}");
        ask("ListGroups", 5, "{'statesFilter':[],'typesFilter':['bogus']}");
        staticMember();
        twoMembers();
    }

    // A whole life of a group with one member, every request in the version nearest to v that it has.
    private void oneGroup(int v, String tid) throws Exception {
        String group = "group" + v;
        say("a group of one, JoinGroup version " + v);
        JsonNode answer = ask("JoinGroup", v, join(group, "", 10000, "consumer", "range"));
        String member = answer.get("memberId").asText();
        if (answer.get("errorCode").asInt() == 79)
            answer = ask("JoinGroup", v, join(group, member, 10000, "consumer", "range"));
        int generation = answer.get("generationId").asInt();
        ask("Heartbeat", Math.min(v, 4), "{'groupId':'%s','generationId':%d,'memberId':'%s'}", group, generation, member);
        ask("SyncGroup", Math.min(v, 5), """
            {'groupId':'%s','generationId':%d,'memberId':'%s','protocolType':'consumer','protocolName':'range',
             'assignments':[{'memberId':'%s','assignment':'YXNzaWduZWQ='}]}""", group, generation, member, member);
        ask("Heartbeat", Math.min(v, 4), "{'groupId':'%s','generationId':%d,'memberId':'%s'}", group, generation, member);
        ask("Heartbeat", Math.min(v, 4), "{'groupId':'%s','generationId':%d,'memberId':'%s'}", group, generation + 1, member);
        ask("OffsetCommit", Math.min(v + 2, 10), """
            {'groupId':'%s','generationIdOrMemberEpoch':%d,'memberId':'%s','retentionTimeMs':-1,'topics':[{'name':'g',
             'topicId':'%s','partitions':[
              {'partitionIndex':0,'committedOffset':5,'committedLeaderEpoch':0,'committedMetadata':'meta'},
              {'partitionIndex':1,'committedOffset':6,'committedLeaderEpoch':-1,'committedMetadata':null}]}]}""",
            group, generation, member, tid);
        ask("OffsetCommit", Math.min(v + 2, 10), """
            {'groupId':'%s','generationIdOrMemberEpoch':%d,'memberId':'%s','retentionTimeMs':-1,'topics':[{'name':'g',
             'topicId':'%s','partitions':[{'partitionIndex':0,'committedOffset':9}]}]}""", group, generation + 7, member, tid);
        ask("OffsetFetch", v + 1, """
            {'groupId':'%s','topics':[{'name':'g','partitionIndexes':[0,1,2]}],'groups':[{'groupId':'%s','memberId':null,
              'memberEpoch':-1,'topics':[{'name':'g','topicId':'%s','partitionIndexes':[0,1,2]}]}]}""", group, group, tid);
        ask("DescribeGroups", Math.min(v, 6), "{'groups':['%s'],'includeAuthorizedOperations':true}", group);
        ask("ListGroups", Math.min(v, 5), "{'statesFilter':['Stable'],'typesFilter':[]}");
        ask("LeaveGroup", Math.min(v, 5), """
            {'groupId':'%s','memberId':'%s','members':[{'memberId':'%s','groupInstanceId':null,'reason':'done'}]}""",
            group, member, member);
        ask("DescribeGroups", Math.min(v, 6), "{'groups':['%s']}", group);
    }

    private void staticMember() throws Exception {
        say("a static member joins twice: the second takes over, the first is fenced");
        String json = "{'groupId':'static','sessionTimeoutMs':10000,'rebalanceTimeoutMs':5000,'memberId':'%s',"
            + "'groupInstanceId':'one','protocolType':'consumer','protocols':[{'name':'range','metadata':'bWV0YQ=='}]}";
        JsonNode first = ask("JoinGroup", 7, String.format(json, ""));
        String member = first.get("memberId").asText();
        ask("SyncGroup", 5, """
            {'groupId':'static','generationId':1,'memberId':'%s','groupInstanceId':'one','protocolType':'consumer',
             'protocolName':'range','assignments':[{'memberId':'%s','assignment':'YXNzaWduZWQ='}]}""", member, member);
        ask("JoinGroup", 7, String.format(json, ""));
        ask("Heartbeat", 4, "{'groupId':'static','generationId':1,'memberId':'%s','groupInstanceId':'one'}", member);
        ask("DescribeGroups", 5, "{'groups':['static']}");
        ask("LeaveGroup", 5, "{'groupId':'static','members':[{'memberId':'','groupInstanceId':'one'}]}");
    }

    // Two members on two connections: the second one's join makes the first one's heartbeat say that a rebalance is on.
    private void twoMembers() throws Exception {
        say("two members: rebalance");
        String a = ask("JoinGroup", 7, join("two", "", 10000, "consumer", "range")).get("memberId").asText();
        JsonNode joined = ask("JoinGroup", 7, join("two", a, 10000, "consumer", "range"));
        ask("SyncGroup", 5, sync("two", joined.get("generationId").asInt(), a, a));
        String b = ask("JoinGroup", 7, join("two", "", 10000, "consumer", "range")).get("memberId").asText();
        Socket first = socket;
        connect();
        Socket second = socket;
        say("(second connection) the join waits for the first member");
        tell("JoinGroup", 7, join("two", b, 10000, "consumer", "range"));
        Thread.sleep(200);
        socket = first;
        say("(first connection)");
        ask("Heartbeat", 4, "{'groupId':'two','generationId':1,'memberId':'%s'}", a);
        JsonNode again = ask("JoinGroup", 7, join("two", a, 10000, "consumer", "range"));
        socket = second;
        say("(second connection) the join is answered");
        hear(ApiKeys.JOIN_GROUP, 7);
        say("(first connection) the leader sends the assignments");
        socket = first;
        ask("SyncGroup", 5, sync("two", again.get("generationId").asInt(), a, b));
        socket = second;
        ask("SyncGroup", 5, "{'groupId':'two','generationId':%d,'memberId':'%s','protocolType':'consumer','protocolName':'range'}",
            again.get("generationId").asInt(), b);
        ask("JoinGroup", 7, join("two", b, 10000, "other", "range"));
        ask("JoinGroup", 7, join("two", "", 10000, "consumer", "sticky"));
        socket = first;
        ask("DescribeGroups", 5, "{'groups':['two']}");
        second.close();
    }

    private static String join(String group, String member, int timeout, String type, String protocol) {
        return String.format("{'groupId':'%s','sessionTimeoutMs':%d,'rebalanceTimeoutMs':5000,'memberId':'%s',"
            + "'protocolType':'%s','reason':'because','protocols':[{'name':'%s','metadata':'bWV0YQ=='}]}", group, timeout, member,
            type, protocol);
    }

    private static String sync(String group, int generation, String leader, String other) {
        return String.format("{'groupId':'%s','generationId':%d,'memberId':'%s','protocolType':'consumer','protocolName':'range',"
            + "'assignments':[{'memberId':'%s','assignment':'YQ=='},{'memberId':'%s','assignment':'Yg=='}]}", group, generation,
            leader, leader, other);
    }

    void create(String topic, int partitions) throws Exception {
        ask("CreateTopics", 7, "{'topics':[{'name':'%s','numPartitions':%d,'replicationFactor':1}],'timeoutMs':5000}", topic,
            partitions);
        Thread.sleep(300);
    }

    String topicId(String topic) throws Exception {
        return ask("Metadata", 12, "{'topics':[{'name':'%s'}]}", topic).get("topics").get(0).get("topicId").asText();
    }

    void produce(String topic, int partition, int acks, byte[] records) throws Exception {
        ask("Produce", 9, "{'acks':%d,'timeoutMs':5000,'topicData':[{'name':'%s','partitionData':[{'index':%d,'records':'%s'}]}]}",
            acks, topic, partition, base64(records));
    }

    void produce(String topic, int partition, int acks, MemoryRecords records) throws Exception {
        produce(topic, partition, acks, array(records));
    }

    private void produceNull(String topic) throws Exception {
        ask("Produce", 9, "{'acks':-1,'timeoutMs':5000,'topicData':[{'name':'%s','partitionData':[{'index':0,'records':null}]}]}",
            topic);
    }

    // ---- record batches ----------------------------------------------------------------------------------------------

    private static byte[] bytes(CompressionType type, int seed, int count) {
        SimpleRecord[] records = new SimpleRecord[count];
        for (int i = 0; i < count; i++)
            records[i] = new SimpleRecord(T0 + seed * 1000L + i, ("key" + seed).getBytes(),
                ("value " + seed + "." + i + " value value value").getBytes());
        return array(MemoryRecords.withRecords(Compression.of(type).build(), records));
    }

    private static String batch(CompressionType type, int seed, int count) {
        return base64(bytes(type, seed, count));
    }

    private static MemoryRecords idempotent(long producer, int epoch, int sequence) {
        return MemoryRecords.withIdempotentRecords(Compression.NONE, producer, (short) epoch, sequence,
            new SimpleRecord(T0, "k".getBytes(), ("first " + sequence).getBytes()),
            new SimpleRecord(T0 + 1, "k".getBytes(), ("second " + sequence).getBytes()));
    }

    static byte[] array(MemoryRecords records) {
        byte[] all = new byte[records.sizeInBytes()];
        records.buffer().duplicate().get(all);
        return all;
    }

    // The batch with one byte changed and its checksum made right again.
    static byte[] sealed(byte[] batch, int at, int flip) {
        byte[] changed = batch.clone();
        changed[at] ^= (byte) flip;
        java.util.zip.CRC32C crc = new java.util.zip.CRC32C();
        crc.update(changed, 21, changed.length - 21);
        ByteBuffer.wrap(changed).putInt(17, (int) crc.getValue());
        return changed;
    }

    static String base64(byte[] bytes) {
        return java.util.Base64.getEncoder().encodeToString(bytes);
    }

    private static String hex(String text) {
        return HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
    }

    // ---- the connection ----------------------------------------------------------------------------------------------

    void connect() throws IOException {
        socket = new Socket(host, port);
        socket.setTcpNoDelay(true);
        socket.setSoTimeout(5000);
    }

    void close() throws IOException {
        socket.close();
        out.close();
    }

    void say(String text) {
        out.println("# " + text);
    }

    JsonNode ask(String api, int version, String json, Object... values) throws Exception {
        tell(api, version, json, values);
        return hear(api(api), version);
    }

    void tell(String api, int version, String json, Object... values) throws Exception {
        ApiKeys key = api(api);
        String text = (values.length == 0 ? json : String.format(json, values)).replace('\'', '"');
        Class<? extends ApiMessage> type = key.messageType.newRequest().getClass();
        JsonNode whole = complete(type, JSON.readTree(text), version);
        ApiMessage body = fromJson(type, whole, version);
        RequestHeaderData header = new RequestHeaderData().setRequestApiKey(key.id).setRequestApiVersion((short) version)
            .setCorrelationId(++correlation).setClientId("oracle");
        byte[] frame = concat(bytesOf(header, key.requestHeaderVersion((short) version)), bytesOf(body, version));
        send(frame);
        out.println(key.id + " " + version + " request " + HexFormat.of().formatHex(framed(frame)) + " " + json(body, version));
    }

    // Reads an answer; a connection that the broker closed is written down and made anew.
    JsonNode hear(ApiKeys key, int version) throws Exception {
        byte[] frame;
        try {
            frame = receive();
        } catch (SocketTimeoutException e) {
            out.println(key.id + " " + version + " silent - null");
            connect();
            return null;
        }
        if (frame == null) {
            out.println(key.id + " " + version + " closed - null");
            connect();
            return null;
        }
        ByteBuffer buffer = ByteBuffer.wrap(frame);
        buffer.getInt();
        if (key.responseHeaderVersion((short) version) >= 1 && buffer.get() != 0)
            throw new IOException("tagged fields in a response header");
        ApiMessage body = key.messageType.newResponse();
        body.read(new ByteBufferAccessor(buffer), (short) version);
        JsonNode json = json(body, version);
        out.println(key.id + " " + version + " response " + HexFormat.of().formatHex(framed(frame)) + " " + json);
        return json;
    }

    // Sends bytes as they are given; the answer is read as one of key and version.
    private void raw(String hex, int key, int version) throws Exception {
        byte[] frame = HexFormat.of().parseHex(hex);
        send(frame);
        out.println(Integer.parseInt(hex.substring(0, 4), 16) + " " + Integer.parseInt(hex.substring(4, 8), 16) + " request "
            + HexFormat.of().formatHex(framed(frame)) + " null");
        hear(ApiKeys.forId(key), version);
    }

    private void send(byte[] frame) throws IOException {
        OutputStream stream = socket.getOutputStream();
        stream.write(framed(frame));
        stream.flush();
    }

    private byte[] receive() throws IOException {
        try {
            DataInputStream stream = new DataInputStream(socket.getInputStream());
            return stream.readNBytes(stream.readInt());
        } catch (EOFException | java.net.SocketException e) {
            return null;
        }
    }

    private static byte[] framed(byte[] frame) {
        return ByteBuffer.allocate(4 + frame.length).putInt(frame.length).put(frame).array();
    }

    private static byte[] concat(byte[] a, byte[] b) {
        byte[] all = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, all, a.length, b.length);
        return all;
    }

    private static byte[] bytesOf(ApiMessage message, int version) {
        ByteBuffer bytes = MessageUtil.toByteBufferAccessor(message, (short) version).buffer();
        byte[] raw = new byte[bytes.remaining()];
        bytes.get(raw);
        return raw;
    }

    static ApiKeys api(String name) {
        for (ApiKeys key : ApiKeys.values())
            if (key.name.equals(name))
                return key;
        throw new IllegalArgumentException(name);
    }

    // ---- JSON --------------------------------------------------------------------------------------------------------

    private static JsonNode json(Object message, int version) throws Exception {
        Method write = null;
        for (Method method : converter(message.getClass()).getMethods())
            if (method.getName().equals("write") && method.getParameterCount() == 2)
                write = method;
        try {
            return (JsonNode) write.invoke(null, message, (short) version);
        } catch (InvocationTargetException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    private static ApiMessage fromJson(Class<?> type, JsonNode json, int version) throws Exception {
        try {
            return (ApiMessage) converter(type).getMethod("read", JsonNode.class, short.class).invoke(null, json, (short) version);
        } catch (InvocationTargetException e) {
            throw new IllegalStateException(type + " " + json, e.getCause());
        }
    }

    // Outer$Inner is converted by OuterJsonConverter$InnerJsonConverter.
    private static Class<?> converter(Class<?> type) throws Exception {
        String name = type.getName();
        int inner = name.indexOf('$');
        return Class.forName(inner < 0 ? name + "JsonConverter"
            : name.substring(0, inner) + "JsonConverter$" + name.substring(inner + 1) + "JsonConverter");
    }

    // What Kafka's reader wants: every field of the version, and no other.
    private static JsonNode complete(Class<?> type, JsonNode given, int version) throws Exception {
        if (given == null || given.isNull())
            return given;
        Object empty = type.getDeclaredConstructor().newInstance();
        ObjectNode whole = JSON.createObjectNode();
        JsonNode defaults;
        try {
            defaults = json(empty, version);
        } catch (IllegalStateException e) {
            defaults = JSON.createObjectNode(); // a struct that the version does not have
        }
        Iterator<Map.Entry<String, JsonNode>> fields = defaults.fields();
        while (fields.hasNext()) {
            Map.Entry<String, JsonNode> field = fields.next();
            String name = field.getKey().equals("recordsSizeInBytes") ? "records" : field.getKey();
            if (given.has(name))
                whole.set(name, completeField(type, name, given.get(name), version));
            else
                whole.set(name, field.getValue());
        }
        return whole;
    }

    private static JsonNode completeField(Class<?> type, String name, JsonNode given, int version) throws Exception {
        if (!given.isArray())
            return given.isTextual() && name.equals("records") ? new BinaryNode(given.binaryValue()) : given;
        Class<?> element = elementType(type, name);
        if (element == null || element.getName().startsWith("java.") || element.getName().endsWith("Uuid"))
            return given;
        ArrayNode all = JSON.createArrayNode();
        for (JsonNode one : given)
            all.add(complete(element, one, version));
        return all;
    }

    private static Class<?> elementType(Class<?> type, String name) throws Exception {
        for (Method method : type.getMethods()) {
            if (!method.getName().equals(name) || method.getParameterCount() != 0)
                continue;
            Type generic = method.getGenericReturnType();
            if (generic instanceof Class<?> c)
                generic = c.getGenericSuperclass();
            if (generic instanceof ParameterizedType p && p.getActualTypeArguments()[0] instanceof Class<?> c)
                return c;
        }
        return null;
    }
}
