// Worker KIND NAME BOOTSTRAP SEED FIRST_VALUE: worker.py's kinds txn, transform and reader with the Java client, whose transactions are of
// transaction.version 2. The events are the same JSON lines; it ends when its standard input does.

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;

public class Worker {
    private static final Map<String, Integer> TOPICS = Map.of("a", 3, "b", 2);
    private static String name;
    private static String bootstrap;
    private static Random random;
    private static long value;

    record Send(String topic, int partition, long value, Future<RecordMetadata> answer) { }

    private static boolean stopped() throws Exception {
        return System.in.available() > 0;
    }

    // One line in the form that checker.py reads; `more` is JSON already.
    private static void say(String kind, String f, String more) {
        System.out.println("{\"p\":\"" + name + "\",\"kind\":\"" + kind + "\",\"f\":\"" + f + "\",\"t\":" + System.nanoTime() / 1e9
            + (more.isEmpty() ? "" : "," + more) + "}");
        System.out.flush();
    }

    private static String sends(List<Send> all) {
        List<String> out = new ArrayList<>();
        for (Send s : all) {
            String offset = "null";
            try {
                if (s.answer != null && s.answer.isDone() && s.answer.get().offset() >= 0)
                    offset = "" + s.answer.get().offset();
            } catch (Exception e) {
                offset = "null";
            }
            out.add("[\"send\",\"" + s.topic + "-" + s.partition + "\"," + s.value + "," + offset + "]");
        }
        return String.join(",", out);
    }

    private static Properties client() {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("request.timeout.ms", "5000");
        p.put("reconnect.backoff.max.ms", "500");
        p.put("metadata.max.age.ms", "5000");
        return p;
    }

    private static KafkaProducer<byte[], byte[]> producer() throws Exception {
        Properties p = client();
        p.put("transactional.id", name);
        p.put("transaction.timeout.ms", "20000");
        p.put("delivery.timeout.ms", "15000");
        p.put("max.block.ms", "10000");
        p.put("linger.ms", "2");
        p.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        p.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        while (!stopped()) {
            KafkaProducer<byte[], byte[]> made = new KafkaProducer<>(p);
            try {
                made.initTransactions();
                return made;
            } catch (KafkaException e) {
                made.close(Duration.ZERO);
                Thread.sleep(200);
            }
        }
        return null;
    }

    private static Send send(KafkaProducer<byte[], byte[]> p, String topic, int partition, long v) {
        return new Send(topic, partition, v, p.send(new ProducerRecord<>(topic, partition, null, Long.toString(v).getBytes())));
    }

    // Ends the transaction and says what became of it; null: a new producer is needed.
    private static KafkaProducer<byte[], byte[]> finish(KafkaProducer<byte[], byte[]> p, boolean commit, List<Send> all, String polls,
                                                        String more) {
        boolean asked = false;
        String kind;
        KafkaProducer<byte[], byte[]> next = p;
        try {
            if (commit) {
                p.flush();
                more += ",\"commit_t\":" + System.nanoTime() / 1e9;
                asked = true;
                p.commitTransaction();
                kind = "ok";
            } else {
                p.abortTransaction();
                kind = "fail";
            }
        } catch (KafkaException e) {
            kind = asked ? "info" : "fail";
            p.close(Duration.ZERO);
            next = null;
        }
        String ops = sends(all);
        say(kind, "txn", "\"transactional\":true,\"ops\":[" + polls + (polls.isEmpty() || ops.isEmpty() ? "" : ",") + ops + "]" + more);
        return next;
    }

    private static void txn() throws Exception {
        KafkaProducer<byte[], byte[]> p = null;
        while (!stopped()) {
            if (p == null && (p = producer()) == null)
                return;
            int n = 1 + random.nextInt(5);
            List<Send> planned = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                String topic = random.nextBoolean() ? "a" : "b";
                planned.add(new Send(topic, random.nextInt(TOPICS.get(topic)), ++value, null));
            }
            List<Send> all = new ArrayList<>();
            say("invoke", "txn", "\"transactional\":true,\"ops\":[" + sends(planned) + "]");
            try {
                p.beginTransaction();
                for (Send s : planned)
                    all.add(send(p, s.topic, s.partition, s.value));
            } catch (KafkaException e) {
                say("fail", "txn", "\"transactional\":true,\"ops\":[" + sends(planned) + "]");
                p.close(Duration.ZERO);
                p = null;
                continue;
            }
            p = finish(p, random.nextInt(4) != 0, all, "", "");
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String group) {
        Properties c = client();
        c.put("group.id", group);
        c.put("isolation.level", "read_committed");
        c.put("enable.auto.commit", "false");
        c.put("auto.offset.reset", "earliest");
        c.put("session.timeout.ms", "6000");
        c.put("heartbeat.interval.ms", "500");
        c.put("fetch.max.wait.ms", "100");
        c.put("default.api.timeout.ms", "10000");
        c.put("key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        c.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        return new KafkaConsumer<>(c);
    }

    private static String poll(Iterable<ConsumerRecord<byte[], byte[]>> records, Map<TopicPartition, long[]> ranges) {
        Map<TopicPartition, List<String>> by = new LinkedHashMap<>();
        for (ConsumerRecord<byte[], byte[]> r : records) {
            TopicPartition tp = new TopicPartition(r.topic(), r.partition());
            by.computeIfAbsent(tp, k -> new ArrayList<>()).add("[" + r.offset() + "," + new String(r.value()) + "]");
            ranges.computeIfAbsent(tp, k -> new long[] {r.offset(), 0})[1] = r.offset() + 1;
        }
        List<String> out = new ArrayList<>();
        by.forEach((tp, list) -> out.add("\"" + tp + "\":[" + String.join(",", list) + "]"));
        return "[\"poll\",{" + String.join(",", out) + "}]";
    }

    private static void transform() throws Exception {
        KafkaProducer<byte[], byte[]> p = null;
        Map<TopicPartition, Long> positions = new HashMap<>();
        KafkaConsumer<byte[], byte[]> c = consumer("transform");
        ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
            public void onPartitionsRevoked(Collection<TopicPartition> parts) {
                positions.clear();
                say("ok", "reset", "");
            }

            public void onPartitionsAssigned(Collection<TopicPartition> parts) {
                onPartitionsRevoked(parts);
            }
        };
        c.subscribe(List.of("a"), listener);
        while (!stopped()) {
            if (p == null && (p = producer()) == null)
                break;
            Map<TopicPartition, long[]> ranges = new LinkedHashMap<>();
            String polled;
            try {
                polled = poll(c.poll(Duration.ofMillis(200)), ranges);
            } catch (KafkaException e) {
                continue;
            }
            if (ranges.isEmpty())
                continue;
            List<String> offsets = new ArrayList<>();
            Map<TopicPartition, OffsetAndMetadata> commits = new HashMap<>();
            List<Send> planned = new ArrayList<>();
            ranges.forEach((tp, range) -> {
                offsets.add("\"" + tp + "\":[" + positions.getOrDefault(tp, range[0]) + "," + range[1] + "]");
                commits.put(tp, new OffsetAndMetadata(range[1]));
                planned.add(new Send("b", random.nextInt(TOPICS.get("b")), ++value, null));
            });
            String more = ",\"group\":\"transform\",\"offsets\":{" + String.join(",", offsets) + "}";
            say("invoke", "txn", "\"transactional\":true,\"ops\":[" + polled + "," + sends(planned) + "]" + more);
            List<Send> all = new ArrayList<>();
            boolean good = true;
            try {
                p.beginTransaction();
                for (Send s : planned)
                    all.add(send(p, s.topic, s.partition, s.value));
                p.sendOffsetsToTransaction(commits, c.groupMetadata());
            } catch (KafkaException e) {
                good = false;
            }
            p = finish(p, good, all, polled, more);
            positions.clear();
            say("ok", "reset", "");
            if (p == null) {
                c.close(Duration.ofSeconds(5));
                c = consumer("transform");
                c.subscribe(List.of("a"), listener);
            } else {
                again(c, positions);
            }
        }
        c.close(Duration.ofSeconds(5));
    }

    // Seek to the committed offsets: after an abort the same input is read again.
    private static void again(KafkaConsumer<byte[], byte[]> c, Map<TopicPartition, Long> positions) {
        try {
            c.committed(c.assignment()).forEach((tp, o) -> {
                c.seek(tp, o == null ? 0 : o.offset());
                if (o != null)
                    positions.put(tp, o.offset());
            });
        } catch (TimeoutException | IllegalStateException e) {
            return;
        }
    }

    private static void reader() throws Exception {
        KafkaConsumer<byte[], byte[]> c = consumer("reader-" + name);
        List<TopicPartition> all = new ArrayList<>();
        TOPICS.forEach((t, n) -> {
            for (int i = 0; i < n; i++)
                all.add(new TopicPartition(t, i));
        });
        while (!stopped()) {
            say("ok", "reset", "");
            c.assign(all);
            c.seekToBeginning(all);
            for (int i = 20 + random.nextInt(180); i > 0 && !stopped(); i--) {
                say("invoke", "txn", "\"ops\":[]");
                String polled = "[\"poll\",{}]";
                try {
                    polled = poll(c.poll(Duration.ofMillis(100)), new HashMap<>());
                } catch (KafkaException e) {
                    polled = "[\"poll\",{}]";
                }
                say("ok", "txn", "\"ops\":[" + polled + "]");
            }
        }
        c.close(Duration.ofSeconds(5));
    }

    public static void main(String[] args) throws Exception {
        name = args[1];
        bootstrap = args[2];
        random = new Random(Long.parseLong(args[3]));
        value = Long.parseLong(args[4]);
        switch (args[0]) {
        case "txn" -> txn();
        case "transform" -> transform();
        case "reader" -> reader();
        default -> throw new IllegalArgumentException(args[0]);
        }
        Runtime.getRuntime().halt(0);
    }
}
