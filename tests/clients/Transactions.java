// Transactions BOOTSTRAP: the Java client as transactions.py tells it, a line at a time. A command is words with tabs between them;
// the answer is one line, `ok` and words, or `error`, the exception's name and its text. Everything is looked up by name, so that one
// JVM plays several producers.
//
//   producer NAME ID TIMEOUT_MS | init NAME | begin NAME | send NAME TOPIC PARTITION VALUE | flush NAME
//   offset NAME GROUP TOPIC PARTITION OFFSET | commit NAME | abort NAME | close NAME
//   transform NAME GROUP FROM TO COUNT END      read COUNT records of FROM as the group, write them to TO, END: commit or abort
//   read TOPIC PARTITIONS LEVEL                 all values up to the end as the isolation level sees it
//   committed GROUP TOPIC PARTITION             `none` without one
//   list | describe ID | producers TOPIC PARTITION | fence ID | kill TOPIC PARTITION PRODUCER_ID EPOCH COORDINATOR_EPOCH

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

public class Transactions {
    private static final int PATIENCE_MS = 60000;
    private static final String STRINGS = "org.apache.kafka.common.serialization.String";

    private static String bootstrap;
    private static Admin admin;
    private static final Map<String, KafkaProducer<String, String>> producers = new HashMap<>();
    private static final Map<String, List<Future<RecordMetadata>>> sent = new HashMap<>();

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null;) {
            String answer;
            try {
                answer = "ok\t" + run(line.split("\t", -1));
            } catch (ExecutionException e) {
                answer = "error\t" + e.getCause().getClass().getSimpleName() + "\t" + e.getCause().getMessage();
            } catch (Exception e) {
                answer = "error\t" + e.getClass().getSimpleName() + "\t" + e.getMessage();
            }
            System.out.println(answer.replace('\n', ' '));
            System.out.flush();
        }
        for (KafkaProducer<String, String> p : producers.values())
            p.close(Duration.ZERO);
        System.exit(0);
    }

    private static String run(String[] w) throws Exception {
        switch (w[0]) {
            case "producer": return made(w[1], w[2], w[3]);
            case "read": return read(w[1], Integer.parseInt(w[2]), w[3]);
            case "transform": return transform(w[1], w[2], w[3], w[4], Integer.parseInt(w[5]), w[6]);
            case "list": case "describe": case "producers": case "fence": case "kill": case "committed": return administer(w);
            default: return produce(w, producers.get(w[1]), sent.get(w[1]));
        }
    }

    private static Properties client() {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("request.timeout.ms", "10000");
        p.put("default.api.timeout.ms", "" + PATIENCE_MS);
        p.put("reconnect.backoff.max.ms", "200");
        for (String what : new String[] {"key", "value"}) {
            p.put(what + ".serializer", STRINGS + "Serializer");
            p.put(what + ".deserializer", STRINGS + "Deserializer");
        }
        return p;
    }

    // ---- producers -----------------------------------------------------------------------------------------------------

    private static String made(String name, String id, String timeoutMs) {
        Properties p = client();
        p.put("transactional.id", id);
        p.put("transaction.timeout.ms", timeoutMs);
        p.put("delivery.timeout.ms", "30000");
        p.put("max.block.ms", "" + PATIENCE_MS);
        producers.put(name, new KafkaProducer<>(p));
        sent.put(name, new ArrayList<>());
        return "";
    }

    private static String produce(String[] w, KafkaProducer<String, String> p, List<Future<RecordMetadata>> futures) throws Exception {
        switch (w[0]) {
            case "init": p.initTransactions(); return "";
            case "begin": p.beginTransaction(); return "";
            case "send":
                futures.add(p.send(new ProducerRecord<>(w[2], Integer.parseInt(w[3]), "k", w[4])));
                return "";
            case "flush":
                p.flush();
                return wait(futures);
            case "offset":
                p.sendOffsetsToTransaction(Map.of(new TopicPartition(w[3], Integer.parseInt(w[4])),
                    new OffsetAndMetadata(Long.parseLong(w[5]), "noted by Java")), new ConsumerGroupMetadata(w[2]));
                return "";
            case "commit": p.commitTransaction(); futures.clear(); return "";
            case "abort": p.abortTransaction(); futures.clear(); return "";
            case "close":
                p.close(Duration.ofSeconds(5));
                producers.remove(w[1]);
                return "";
            default: throw new IllegalArgumentException(w[0]);
        }
    }

    private static String wait(List<Future<RecordMetadata>> futures) throws Exception {
        List<String> offsets = new ArrayList<>();
        for (Future<RecordMetadata> f : futures)
            offsets.add("" + f.get().offset());
        futures.clear();
        return String.join("\t", offsets);
    }

    // ---- consumers -----------------------------------------------------------------------------------------------------

    private static KafkaConsumer<String, String> consumer(String level, String group) {
        Properties p = client();
        p.put("isolation.level", level);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        if (group != null)
            p.put("group.id", group);
        return new KafkaConsumer<>(p);
    }

    private static String read(String topic, int partitions, String level) {
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> c = consumer(level, null)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < partitions; i++)
                all.add(new TopicPartition(topic, i));
            c.assign(all);
            c.seekToBeginning(all);
            Map<TopicPartition, Long> ends = c.endOffsets(all); // the last stable offsets, for read_committed
            while (all.stream().anyMatch(p -> c.position(p) < ends.get(p)))
                for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(200)))
                    if (r.offset() < ends.get(new TopicPartition(r.topic(), r.partition())))
                        values.add(r.value());
        }
        return String.join("\t", values);
    }

    private static String transform(String name, String group, String from, String to, int count, String end) {
        KafkaProducer<String, String> p = producers.get(name);
        try (KafkaConsumer<String, String> c = consumer("read_committed", group)) {
            Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
            int got = 0;
            c.subscribe(List.of(from));
            p.beginTransaction();
            for (long until = System.currentTimeMillis() + PATIENCE_MS; got < count && System.currentTimeMillis() < until;)
                for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(200))) {
                    if (got++ >= count)
                        break;
                    p.send(new ProducerRecord<>(to, 0, "k", r.value()));
                    next.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
            p.sendOffsetsToTransaction(next, c.groupMetadata());
            if (end.equals("commit"))
                p.commitTransaction();
            else
                p.abortTransaction();
            return "" + Math.min(got, count);
        }
    }

    // ---- administration --------------------------------------------------------------------------------------------------

    private static String administer(String[] w) throws Exception {
        if (admin == null)
            admin = Admin.create(client());
        switch (w[0]) {
            case "list": {
                List<String> all = new ArrayList<>();
                for (TransactionListing t : admin.listTransactions().all().get())
                    all.add(t.transactionalId() + "=" + t.state());
                return String.join("\t", all);
            }
            case "describe": {
                TransactionDescription d = admin.describeTransactions(List.of(w[1])).description(w[1]).get();
                List<String> parts = new ArrayList<>();
                for (TopicPartition p : d.topicPartitions())
                    parts.add(p.toString());
                Collections.sort(parts);
                return d.state() + "\t" + d.producerId() + "\t" + d.producerEpoch() + "\t" + d.transactionTimeoutMs() + "\t"
                    + String.join(",", parts);
            }
            case "producers": {
                TopicPartition p = new TopicPartition(w[1], Integer.parseInt(w[2]));
                List<String> all = new ArrayList<>();
                for (ProducerState s : admin.describeProducers(List.of(p)).partitionResult(p).get().activeProducers())
                    all.add(s.producerId() + "," + s.producerEpoch() + "," + s.coordinatorEpoch().orElse(-1) + ","
                        + s.currentTransactionStartOffset().orElse(-1));
                return String.join("\t", all);
            }
            case "committed": {
                TopicPartition p = new TopicPartition(w[2], Integer.parseInt(w[3]));
                OffsetAndMetadata o = admin.listConsumerGroupOffsets(w[1]).partitionsToOffsetAndMetadata().get().get(p);
                return o == null ? "none" : o.offset() + "\t" + o.metadata();
            }
            case "fence":
                admin.fenceProducers(List.of(w[1])).all().get();
                return "";
            default:
                admin.abortTransaction(new AbortTransactionSpec(new TopicPartition(w[1], Integer.parseInt(w[2])), Long.parseLong(w[3]),
                    Short.parseShort(w[4]), Integer.parseInt(w[5]))).all().get();
                return "";
        }
    }
}
