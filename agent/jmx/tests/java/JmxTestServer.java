import java.io.IOException;
import java.io.Serializable;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.rmi.registry.LocateRegistry;
import java.rmi.registry.Registry;
import java.rmi.server.RMIServerSocketFactory;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.management.MBeanServer;
import javax.management.ObjectName;
import javax.management.openmbean.*;
import javax.management.remote.JMXAuthenticator;
import javax.management.remote.JMXPrincipal;
import javax.management.remote.JMXServiceURL;
import javax.management.remote.rmi.RMIConnectorServer;
import javax.management.remote.rmi.RMIJRMPServerImpl;
import javax.rmi.ssl.SslRMIClientSocketFactory;
import javax.rmi.ssl.SslRMIServerSocketFactory;
import javax.security.auth.Subject;

/**
 * The JDK's standard RMI connector, set up as Cassandra sets it up (registry and connector on
 * loopback, connector on a port of its own), with beans that look like Cassandra's and beans that
 * exercise every kind of value. Prints "READY registry-port connector-port" and ends with its
 * standard input, so that it never outlives the test that started it.
 */
public class JmxTestServer {
    public interface StorageServiceMBean {
        String getLocalHostId();
        List<String> getTokens();
        String getClusterName();
        String getPartitionerName();
        String getOperationMode();
        String getReleaseVersion();
        String getSchemaVersion();
        String[] getAllDataFileLocations();
        List<String> getKeyspaces();
        Map<String, String> getTokenToEndpointMap();
        Map<String, String> getTokenToEndpointWithPortMap();
        Map<String, String> getEndpointToHostId();
        Map<String, String> getEndpointWithPortToHostId();
        Map<String, String> getLoadMap();
        Map<String, String> getLoadMapWithPort();
        List<String> getLiveNodes();
        List<String> getLiveNodesWithPort();
        List<String> getUnreachableNodes();
        List<String> getUnreachableNodesWithPort();
        List<String> getJoiningNodes();
        List<String> getLeavingNodes();
        List<String> getLeavingNodesWithPort();
        List<String> getMovingNodes();
        List<String> getMovingNodesWithPort();
        Map<InetAddress, Float> getOwnership();
        Map<String, Float> effectiveOwnershipWithPort(String keyspace);
        Map<String, TabularData> getSnapshotDetails();
        void takeSnapshot(String tag, Map<String, String> options, String... entities) throws IOException;
        void clearSnapshot(String tag, String... keyspaces) throws IOException;
        void forceKeyspaceFlush(String keyspace, String... tables) throws IOException;
        List<String> getCalls();
    }

    public static class StorageService implements StorageServiceMBean {
        private final List<String> calls = new CopyOnWriteArrayList<>();
        private final Map<String, TabularData> snapshots = new ConcurrentHashMap<>();

        public String getLocalHostId() { return "8d5ed9f4-7764-4dbd-bad8-43fddce94b7c"; }
        public List<String> getTokens() { return Arrays.asList("-9223372036854775808", "0", "42"); }
        public String getClusterName() { return "Тест cluster"; }
        public String getPartitionerName() { return "org.apache.cassandra.dht.Murmur3Partitioner"; }
        public String getOperationMode() { return "NORMAL"; }
        public String getReleaseVersion() { return "5.0.9"; }
        public String getSchemaVersion() { return "54e17321-3f2e-37ca-9b08-d91ba7bdd369"; }
        public String[] getAllDataFileLocations() { return new String[] {"/data/a", "/data/b"}; }
        public List<String> getKeyspaces() { return new ArrayList<>(List.of("shop", "system")); }
        public Map<String, String> getTokenToEndpointMap() { throw new AssertionError("older twin"); }
        public Map<String, String> getTokenToEndpointWithPortMap() {
            Map<String, String> map = new LinkedHashMap<>();
            map.put("-9223372036854775808", "127.0.0.1:7000");
            map.put("-5", "127.0.0.2:7000");
            map.put("0", "127.0.0.1:7000");
            map.put("7", "127.0.0.3:7000");
            return map;
        }
        public Map<String, String> getEndpointToHostId() { throw new AssertionError("older twin"); }
        public Map<String, String> getEndpointWithPortToHostId() {
            return new HashMap<>(Map.of("127.0.0.1:7000", getLocalHostId(), "127.0.0.2:7000", "id2", "127.0.0.3:7000", "id3"));
        }
        public Map<String, String> getLoadMap() { throw new AssertionError("older twin"); }
        public Map<String, String> getLoadMapWithPort() { return new HashMap<>(Map.of("127.0.0.1:7000", "103.49 KiB")); }
        public List<String> getLiveNodes() { throw new AssertionError("older twin"); }
        public List<String> getLiveNodesWithPort() { return List.of("127.0.0.1:7000", "127.0.0.3:7000"); }
        public List<String> getUnreachableNodes() { throw new AssertionError("older twin"); }
        public List<String> getUnreachableNodesWithPort() { return new LinkedList<>(List.of("127.0.0.2:7000")); }
        // Without a twin: the fall-back to the older name has to work.
        public List<String> getJoiningNodes() { return List.of("127.0.0.3:7000"); }
        public List<String> getLeavingNodes() { throw new AssertionError("older twin"); }
        public List<String> getLeavingNodesWithPort() { return new ArrayList<>(); }
        public List<String> getMovingNodes() { throw new AssertionError("older twin"); }
        public List<String> getMovingNodesWithPort() { return new ArrayList<>(); }
        public Map<InetAddress, Float> getOwnership() {
            Map<InetAddress, Float> map = new LinkedHashMap<>();
            try {
                map.put(InetAddress.getByName("127.0.0.1"), 0.75f);
                map.put(InetAddress.getByName("2001:db8::1"), 0.25f);
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
            return map;
        }
        public Map<String, Float> effectiveOwnershipWithPort(String keyspace) {
            if (keyspace == null)
                throw new IllegalStateException("Non-system keyspaces don't have the same replication settings");
            if (!keyspace.equals("shop"))
                throw new IllegalArgumentException("The keyspace " + keyspace + ", does not exist");
            return new HashMap<>(Map.of("127.0.0.1:7000", 1.0f, "127.0.0.2:7000", 0.5f));
        }
        public Map<String, TabularData> getSnapshotDetails() { return new HashMap<>(snapshots); }
        public void takeSnapshot(String tag, Map<String, String> options, String... entities) throws IOException {
            calls.add("takeSnapshot " + tag + " " + new TreeMap<>(options) + " " + Arrays.toString(entities));
            if (snapshots.containsKey(tag))
                throw new IOException("Snapshot " + tag + " already exists.");
            if (Arrays.asList(entities).contains("missing"))
                throw new IllegalArgumentException("Keyspace missing does not exist");
            snapshots.put(tag, details(tag));
        }
        public void clearSnapshot(String tag, String... keyspaces) {
            calls.add("clearSnapshot " + tag + " " + Arrays.toString(keyspaces));
            snapshots.remove(tag);
        }
        public void forceKeyspaceFlush(String keyspace, String... tables) {
            calls.add("forceKeyspaceFlush " + keyspace + " " + Arrays.toString(tables));
        }
        public List<String> getCalls() { return new ArrayList<>(calls); }

        private static TabularData details(String tag) {
            try {
                String[] names = {"Snapshot name", "Keyspace name", "Column family name", "True size", "Size on disk", "Creation time", "Expiration time"};
                OpenType<?>[] types = new OpenType<?>[names.length];
                Arrays.fill(types, SimpleType.STRING);
                CompositeType row = new CompositeType("SnapshotDetails", "SnapshotDetails", names, names, types);
                TabularDataSupport table = new TabularDataSupport(new TabularType("SnapshotDetails", "SnapshotDetails", row, names));
                for (String name : new String[] {"orders", "items"})
                    table.put(new CompositeDataSupport(row, names, new Object[] {tag, "shop", name, "1.5 KiB", "7 KiB", "2026-11-23T08:00:00Z", null}));
                return table;
            } catch (OpenDataException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    public interface SnitchMBean {
        String getDatacenter();
        String getRack();
        String getDatacenter(String endpoint);
        String getRack(String endpoint);
    }

    public static class Snitch implements SnitchMBean {
        public String getDatacenter() { return "dc1"; }
        public String getRack() { return "r1"; }
        public String getDatacenter(String endpoint) { return endpoint.startsWith("127.0.0.3") ? "dc2" : "dc1"; }
        public String getRack(String endpoint) { return "rack of " + endpoint; }
    }

    public interface StorageProxyMBean {
        Map<String, List<String>> getSchemaVersions();
    }

    public static class StorageProxy implements StorageProxyMBean {
        public Map<String, List<String>> getSchemaVersions() {
            return new HashMap<>(Map.of("v1", new ArrayList<>(List.of("127.0.0.1", "127.0.0.3")), "UNREACHABLE", List.of("127.0.0.2")));
        }
    }

    public interface EmptyMBean { }
    public static class Empty implements EmptyMBean { }

    /** A type of the server's own, of which the client has no class. */
    public static class Own implements Serializable {
        int number = 7;
        String text = "own";
        Own self;
    }

    public interface ValuesMBean {
        Map<String, Object> getEverything();
        Map<String, String> getLarge();
        String getLongText();
        Object getCycle();
        boolean isFlag();
        Object getUnserializable();
    }

    public static class Values implements ValuesMBean {
        public Map<String, Object> getEverything() {
            Map<String, Object> map = new LinkedHashMap<>();
            map.put("null", null);
            map.put("boolean", true);
            map.put("byte", (byte) -1);
            map.put("short", (short) -2);
            map.put("char", 'é');
            map.put("int", Integer.MIN_VALUE);
            map.put("long", Long.MAX_VALUE);
            map.put("float", 1.5f);
            map.put("double", -0.25);
            map.put("string", "a\0é€😀");
            map.put("bytes", new byte[] {0, -1});
            map.put("ints", new int[] {1, 2});
            map.put("longs", new long[] {3});
            map.put("doubles", new double[] {0.5});
            map.put("booleans", new boolean[] {true, false});
            map.put("strings", new String[] {"a", null});
            map.put("nested array", new int[][] {{1}, {2, 3}});
            map.put("ArrayList", new ArrayList<>(List.of("a", "b")));
            map.put("LinkedList", new LinkedList<>(List.of("a", "b")));
            map.put("ArrayDeque", new ArrayDeque<>(List.of("a", "b")));
            map.put("Arrays.asList", Arrays.asList("a", "b"));
            map.put("List.of", List.of("a", "b", "c"));
            map.put("List.of 1", List.of("a"));
            map.put("Set.of", Set.of("a"));
            map.put("Map.of", Map.of("a", 1));
            map.put("CopyOnWriteArrayList", new CopyOnWriteArrayList<>(List.of("a", "b")));
            map.put("unmodifiableList", Collections.unmodifiableList(new ArrayList<>(List.of("a", "b"))));
            map.put("unmodifiableMap", Collections.unmodifiableMap(new HashMap<>(Map.of("a", 1))));
            map.put("unmodifiableSet", Collections.unmodifiableSet(new HashSet<>(Set.of("a"))));
            map.put("synchronizedList", Collections.synchronizedList(new ArrayList<>(List.of("a"))));
            map.put("synchronizedMap", Collections.synchronizedMap(new HashMap<>(Map.of("a", 1))));
            map.put("emptyList", Collections.emptyList());
            map.put("emptySet", Collections.emptySet());
            map.put("emptyMap", Collections.emptyMap());
            map.put("singletonList", Collections.singletonList("a"));
            map.put("singleton", Collections.singleton("a"));
            map.put("singletonMap", Collections.singletonMap("a", 1));
            map.put("HashSet", new HashSet<>(Set.of("a")));
            map.put("LinkedHashSet", new LinkedHashSet<>(List.of("b", "a")));
            Set<String> tree = new TreeSet<>(Comparator.<String>naturalOrder());
            tree.addAll(List.of("b", "a"));
            map.put("TreeSet", tree);
            Set<String> fromMap = Collections.newSetFromMap(new ConcurrentHashMap<>());
            fromMap.add("a");
            map.put("newSetFromMap", fromMap);
            map.put("TreeMap", new TreeMap<>(Map.of("b", 2, "a", 1)));
            map.put("Hashtable", new Hashtable<>(Map.of("a", 1)));
            Properties properties = new Properties();
            properties.setProperty("a", "1");
            map.put("Properties", properties);
            map.put("ConcurrentHashMap", new ConcurrentHashMap<>(Map.of("a", 1)));
            map.put("ConcurrentSkipListMap", new ConcurrentSkipListMap<>(Map.of("a", 1)));
            map.put("EnumMap", new EnumMap<>(Map.of(TimeUnit.DAYS, 1)));
            map.put("enum", TimeUnit.SECONDS);
            map.put("date", new Date(1234567890123L));
            map.put("uuid", new UUID(1, 2));
            map.put("class", String[].class);
            map.put("inet4", InetAddress.getLoopbackAddress());
            map.put("exception", new IOException("outer", new IllegalStateException("inner")));
            map.put("own", new Own());
            map.put("atomic", new AtomicInteger(5));
            // The same object twice, by reference the second time.
            List<String> shared = new ArrayList<>(List.of("shared"));
            map.put("first", shared);
            map.put("second", shared);
            return map;
        }
        public Map<String, String> getLarge() {
            Map<String, String> map = new LinkedHashMap<>();
            for (int i = 0; i < 2000; i++) map.put(Integer.toString(i), "10.0." + i / 256 + "." + i % 256);
            return map;
        }
        public String getLongText() { return "é".repeat(100_000); }
        public Object getCycle() {
            Own own = new Own();
            own.self = own;
            return own;
        }
        public boolean isFlag() { return true; }
        public Object getUnserializable() { return new ArrayList<>(List.of("before", new Object())); }
    }

    public interface TroubleMBean {
        void throwIo() throws IOException;
        void throwUnchecked();
        void throwError();
        void throwSecurity();
        String getBroken();
        int getCount();
        int increment();
        String slow(long millis) throws InterruptedException;
        String typed(boolean flag, int number, long large, Set<String> names, String text);
        void collect();
    }

    public static class Trouble implements TroubleMBean {
        private final AtomicInteger count = new AtomicInteger();
        public void throwIo() throws IOException { throw new IOException("disk on fire"); }
        public void throwUnchecked() { throw new IllegalArgumentException("Keyspace nope does not exist"); }
        public void throwError() { throw new StackOverflowError(); }
        public void throwSecurity() { throw new SecurityException("Access Denied"); }
        public String getBroken() { throw new UnsupportedOperationException("not here"); }
        public int getCount() { return count.get(); }
        public int increment() { return count.incrementAndGet(); }
        public String slow(long millis) throws InterruptedException {
            Thread.sleep(millis);
            count.incrementAndGet();
            return "done";
        }
        public String typed(boolean flag, int number, long large, Set<String> names, String text) {
            return flag + " " + number + " " + large + " " + new TreeSet<>(names) + " " + text;
        }
        public void collect() { System.gc(); }
    }

    /** Other addresses of the loopback network stay free for proxies on the same port. */
    private static ServerSocket onLoopback(int port) throws IOException {
        return new ServerSocket(port, 50, InetAddress.getByName("127.0.0.1"));
    }

    /** The port has to be known before it is served, and a registry does not tell its own. */
    private static int freePort() throws IOException {
        try (ServerSocket probe = onLoopback(0)) {
            return probe.getLocalPort();
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, Object> env = new HashMap<>();
        // As Cassandra does: exported for good, so no leases are needed.
        env.put("jmx.remote.x.daemon", "true");
        boolean tls = false;
        boolean needClientAuth = false;
        boolean plainRegistry = false;
        boolean bind = true;
        int registryPort = freePort();
        for (String arg : args) {
            String[] option = arg.split("=", 2);
            switch (option[0]) {
                case "password-file" -> env.put("jmx.remote.x.password.file", option[1]);
                // As Cassandra's own authenticator, which wraps what it refuses with.
                case "wrapped-password" -> env.put("jmx.remote.authenticator", (JMXAuthenticator) credentials -> {
                    if (credentials instanceof String[] pair && pair[1].equals(option[1]))
                        return new Subject(true, Set.of(new JMXPrincipal(pair[0])), Set.of(), Set.of());
                    throw new RuntimeException(new SecurityException("Authentication failed! Invalid username or password"));
                });
                case "access-file" -> env.put("jmx.remote.x.access.file", option[1]);
                case "idle-timeout" -> env.put("jmx.remote.x.server.connection.timeout", option[1]);
                case "tls" -> tls = true;
                case "client-auth" -> needClientAuth = true;
                case "plain-registry" -> plainRegistry = true;
                case "unbound" -> bind = false;
                case "registry-port" -> registryPort = Integer.parseInt(option[1]);
                default -> throw new IllegalArgumentException(arg);
            }
        }
        MBeanServer beans = ManagementFactory.getPlatformMBeanServer();
        beans.registerMBean(new javax.management.StandardMBean(new StorageService(), StorageServiceMBean.class), new ObjectName("org.apache.cassandra.db:type=StorageService"));
        beans.registerMBean(new javax.management.StandardMBean(new Snitch(), SnitchMBean.class), new ObjectName("org.apache.cassandra.db:type=EndpointSnitchInfo"));
        beans.registerMBean(new StorageProxy(), new ObjectName("org.apache.cassandra.db:type=StorageProxy"));
        for (String table : new String[] {"shop,table=orders", "shop,table=items", "system,table=local"})
            beans.registerMBean(new Empty(), new ObjectName("org.apache.cassandra.db:type=Tables,keyspace=" + table));
        beans.registerMBean(new Empty(), new ObjectName("org.apache.cassandra.db:type=IndexTables,keyspace=shop,table=orders.by_v"));
        beans.registerMBean(new Values(), new ObjectName("test:type=Values"));
        beans.registerMBean(new Trouble(), new ObjectName("test:type=Trouble"));

        SslRMIClientSocketFactory clientSockets = null;
        RMIServerSocketFactory serverSockets = JmxTestServer::onLoopback;
        if (tls) {
            clientSockets = new SslRMIClientSocketFactory();
            serverSockets = new SslRMIServerSocketFactory(null, null, needClientAuth);
        }
        int connectorPort = freePort();
        Registry registry = plainRegistry || !tls
            ? LocateRegistry.createRegistry(registryPort, null, JmxTestServer::onLoopback)
            : LocateRegistry.createRegistry(registryPort, clientSockets, serverSockets);
        JMXServiceURL url = new JMXServiceURL("rmi", null, 0);
        RMIJRMPServerImpl connector = new RMIJRMPServerImpl(connectorPort, clientSockets, serverSockets, env);
        new RMIConnectorServer(url, env, connector, beans).start();
        if (bind)
            registry.bind("jmxrmi", connector.toStub());
        System.out.println("READY " + registryPort + " " + connectorPort);
        while (System.in.read() >= 0) { }
        System.exit(0);
    }
}
