// RecordMessages OUTDIR: writes one golden file per Kafka API, made by the real implementation's own generated classes.
//
// For every version that the broker advertises of every API below, and for request and response, a message is built in
// three variants and serialised by org.apache.kafka.common.message.*Data:
//
//   default   every field as its class initialises it
//   filled    every field of that version, tagged ones too, holds a value that occurs nowhere else in the message; arrays
//             hold two elements
//   nulls     as filled, but what may be null is null
//
// Which fields a version has is asked of the class's own SCHEMAS table, so nothing here repeats the protocol. Run it through
// kafka-goldens.sh, which sets the class path; the format of the files is in the header that it writes.

import com.fasterxml.jackson.databind.JsonNode;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.AppInfoParser;

public class RecordMessages {
    private static final String[] APIS = {
        "PRODUCE", "FETCH", "LIST_OFFSETS", "METADATA", "OFFSET_COMMIT", "OFFSET_FETCH", "FIND_COORDINATOR",
        "JOIN_GROUP", "HEARTBEAT", "LEAVE_GROUP", "SYNC_GROUP", "DESCRIBE_GROUPS", "LIST_GROUPS", "API_VERSIONS",
        "CREATE_TOPICS", "DELETE_TOPICS", "INIT_PRODUCER_ID", "DESCRIBE_CONFIGS", "CREATE_PARTITIONS",
        "SASL_HANDSHAKE", "OFFSET_FOR_LEADER_EPOCH", "DELETE_GROUPS", "OFFSET_DELETE", "DESCRIBE_CLUSTER",
        "ADD_PARTITIONS_TO_TXN", "ADD_OFFSETS_TO_TXN", "END_TXN", "WRITE_TXN_MARKERS", "TXN_OFFSET_COMMIT",
        "DESCRIBE_PRODUCERS", "DESCRIBE_TRANSACTIONS", "LIST_TRANSACTIONS",
        "DELETE_RECORDS", "ALTER_CONFIGS", "INCREMENTAL_ALTER_CONFIGS",
    };
    // What is not an API of its own: the headers, and the records of __consumer_offsets and __transaction_state (a version word,
    // then the message).
    private static final String HEADERS = "org.apache.kafka.common.message.";
    private static final String TRANSACTION_RECORDS = "org.apache.kafka.coordinator.transaction.generated.";
    private static final String GROUP_RECORDS = "org.apache.kafka.coordinator.group.generated.";

    private enum Variant { DEFAULT, FILLED, NULLS }

    private final Variant variant;
    private int counter;

    private RecordMessages(Variant variant) {
        this.variant = variant;
    }

    public static void main(String[] args) throws Exception {
        Path out = Path.of(args[0]);
        Files.createDirectories(out);
        for (String api : APIS) {
            ApiKeys key = ApiKeys.valueOf(api);
            String name = key.name;
            int lowest = key.messageType.lowestSupportedVersion();
            int highest = key.messageType.highestSupportedVersion(false);
            try (PrintStream file = open(out.resolve(name + ".golden"), name)) {
                for (int version = lowest; version <= highest; version++) {
                    String head = key.id + " " + version;
                    record(file, head + " request", key.messageType.newRequest().getClass(), version);
                    record(file, head + " response", key.messageType.newResponse().getClass(), version);
                }
            }
        }
        try (PrintStream file = open(out.resolve("Header.golden"), "Header")) {
            every(file, "-1", "request", HEADERS + "RequestHeaderData");
            every(file, "-1", "response", HEADERS + "ResponseHeaderData");
        }
        try (PrintStream file = open(out.resolve("ConsumerOffsets.golden"), "ConsumerOffsets")) {
            every(file, "0", "offset-key", GROUP_RECORDS + "OffsetCommitKey");
            every(file, "0", "offset-value", GROUP_RECORDS + "OffsetCommitValue");
            every(file, "2", "group-key", GROUP_RECORDS + "GroupMetadataKey");
            every(file, "2", "group-value", GROUP_RECORDS + "GroupMetadataValue");
        }
        try (PrintStream file = open(out.resolve("TransactionState.golden"), "TransactionState")) {
            every(file, "0", "transaction-key", TRANSACTION_RECORDS + "TransactionLogKey");
            every(file, "0", "transaction-value", TRANSACTION_RECORDS + "TransactionLogValue");
        }
    }

    private static PrintStream open(Path path, String name) throws Exception {
        PrintStream file = new PrintStream(Files.newOutputStream(path), false, StandardCharsets.UTF_8);
        file.println("# " + name + ": message bodies, without length and header, in every version the broker advertises");
        file.println("# oracle: Apache Kafka " + AppInfoParser.getVersion() + ", its generated message classes");
        file.println("# command: tests/oracle/kafka-goldens.sh messages");
        file.println("# line: API_KEY VERSION request|response default|filled|nulls HEX JSON");
        file.println("#       (HEX is - for an empty body; JSON as Kafka's own *JsonConverter prints it)");
        return file;
    }

    private static void every(PrintStream file, String key, String kind, String className) throws Exception {
        Class<?> type = Class.forName(className);
        int lowest = type.getField("LOWEST_SUPPORTED_VERSION").getShort(null);
        int highest = type.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
        for (int version = lowest; version <= highest; version++)
            record(file, key + " " + version + " " + kind, type, version);
    }

    private static void record(PrintStream file, String head, Class<?> type, int version) throws Exception {
        Schema schema = ((Schema[]) type.getField("SCHEMAS").get(null))[version];
        for (Variant variant : Variant.values()) {
            ApiMessage message = (ApiMessage) type.getDeclaredConstructor().newInstance();
            if (variant != Variant.DEFAULT)
                new RecordMessages(variant).fill(message, schema);
            ByteBuffer bytes = MessageUtil.toByteBufferAccessor(message, (short) version).buffer();
            byte[] raw = new byte[bytes.remaining()];
            bytes.duplicate().get(raw);
            readBack(type, raw, version, message);
            String hex = raw.length == 0 ? "-" : HexFormat.of().formatHex(raw);
            file.println(head + " " + variant.name().toLowerCase(Locale.ROOT) + " " + hex + " " + json(message, version));
        }
    }

    // The oracle must agree with itself, or the golden would be worthless.
    private static void readBack(Class<?> type, byte[] raw, int version, ApiMessage want) throws Exception {
        ApiMessage got = (ApiMessage) type.getDeclaredConstructor().newInstance();
        got.read(new org.apache.kafka.common.protocol.ByteBufferAccessor(ByteBuffer.wrap(raw)), (short) version);
        if (!json(got, version).equals(json(want, version)))
            throw new IllegalStateException(type + " v" + version + " reads back differently");
    }

    private static String json(ApiMessage message, int version) throws Exception {
        Class<?> converter = Class.forName(message.getClass().getName() + "JsonConverter");
        for (Method method : converter.getMethods()) {
            if (!method.getName().equals("write") || method.getParameterCount() != 2)
                continue;
            return ((JsonNode) method.invoke(null, message, (short) version)).toString();
        }
        throw new IllegalStateException("no converter for " + message.getClass());
    }

    private void fill(Object message, Schema schema) throws Exception {
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields) {
                for (Map.Entry<Integer, Field> tagged : ((TaggedFields) bound.def.type).fields().entrySet())
                    set(message, tagged.getValue());
            } else {
                set(message, bound.def);
            }
        }
    }

    private void set(Object message, Field field) throws Exception {
        Method setter = setter(message.getClass(), field.name);
        Object value;
        if (variant == Variant.NULLS && field.type.isNullable())
            value = null;
        else
            value = value(field.type, setter.getParameterTypes()[0], setter.getGenericParameterTypes()[0],
                getter(message, setter));
        try {
            setter.invoke(message, value);
        } catch (InvocationTargetException e) {
            throw new IllegalStateException(message.getClass() + "." + field.name, e.getCause());
        }
    }

    // Schema names are snake_case, methods camelCase: compare them without underscores.
    private static Method setter(Class<?> type, String name) {
        String want = "set" + name.replace("_", "");
        for (Method method : type.getMethods())
            if (method.getName().equalsIgnoreCase(want) && method.getParameterCount() == 1)
                return method;
        throw new IllegalStateException("no setter for " + name + " in " + type);
    }

    private static Object getter(Object message, Method setter) throws Exception {
        String name = setter.getName().substring(3);
        Method getter = message.getClass().getMethod(Character.toLowerCase(name.charAt(0)) + name.substring(1));
        return getter.invoke(message);
    }

    private Object value(org.apache.kafka.common.protocol.types.Type wire, Class<?> type, Type generic, Object initial)
        throws Exception {
        int n = ++counter;
        if (type == boolean.class || type == Boolean.class)
            return !(initial instanceof Boolean b) || !b;
        if (type == byte.class || type == Byte.class)
            return (byte) (n % 100 + 1);
        if (type == short.class || type == Short.class)
            return (short) (0x0100 + n);
        if (type == int.class || type == Integer.class)
            return wire.toString().equals("UINT16") ? 0xf000 + n : 0x01020000 + n;
        if (type == long.class || type == Long.class)
            return 0x0102030405060000L + n;
        if (type == double.class || type == Double.class)
            return n + 0.5;
        if (type == String.class)
            return "v" + n + "é";
        if (type == Uuid.class)
            return new Uuid(0x1122334455660000L + n, 0x99aabbccddee0000L + n);
        if (type == byte[].class)
            return ("bytes" + n).getBytes(StandardCharsets.UTF_8);
        if (type == ByteBuffer.class)
            return ByteBuffer.wrap(("buffer" + n).getBytes(StandardCharsets.UTF_8));
        if (type.getSimpleName().equals("BaseRecords"))
            return MemoryRecords.withRecords(Compression.NONE,
                new SimpleRecord(1700000000000L + n, ("key" + n).getBytes(), ("value" + n).getBytes()));
        if (wire.isArray())
            return array(wire, type, generic);
        Object nested = type.getDeclaredConstructor().newInstance();
        fill(nested, schemaOf(wire));
        return nested;
    }

    // A list, or one of Kafka's linked hash collections, with two elements.
    @SuppressWarnings("unchecked")
    private Object array(org.apache.kafka.common.protocol.types.Type wire, Class<?> type, Type generic) throws Exception {
        org.apache.kafka.common.protocol.types.Type element = wire.arrayElementType().get();
        Type elementGeneric;
        Collection<Object> all;
        if (type == List.class) {
            elementGeneric = ((ParameterizedType) generic).getActualTypeArguments()[0];
            all = new ArrayList<>();
        } else {
            elementGeneric = ((ParameterizedType) type.getGenericSuperclass()).getActualTypeArguments()[0];
            Constructor<?> constructor = type.getDeclaredConstructor();
            all = (Collection<Object>) constructor.newInstance();
        }
        Class<?> elementType = elementGeneric instanceof Class<?> c
            ? c : (Class<?>) ((ParameterizedType) elementGeneric).getRawType();
        for (int i = 0; i < 2; i++)
            all.add(value(element, elementType, elementGeneric, null));
        return all;
    }

    private static Schema schemaOf(org.apache.kafka.common.protocol.types.Type wire) throws Exception {
        if (wire instanceof Schema schema)
            return schema;
        throw new IllegalStateException("no schema in " + wire.getClass());
    }
}
