// Requests of Java's HttpClient: it offers HTTP/2 by an upgrade, and then with HTTP/1.1 alone.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.concurrent.CompletableFuture;

public class Client {
    static URI uri;
    static String host;

    static HttpRequest.Builder request() {
        return HttpRequest.newBuilder(uri).header("Host", host);
    }

    static void check(HttpResponse<String> said, String wanted, String what) {
        if (said.statusCode() != 200 || !said.body().equals(wanted)) {
            throw new IllegalStateException(
                what + ": " + said.statusCode() + " " + said.body() + ", and not " + wanted);
        }
    }

    static void all(HttpClient client) throws Exception {
        byte[] body = "0123456789abcdef".repeat(1 << 16).getBytes();
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(body);
        String sent = "v1 " + body.length + " " + HexFormat.of().formatHex(digest);
        for (int i = 0; i < 100; i++) {
            check(client.send(request().build(), BodyHandlers.ofString()), "v1", "GET");
            HttpRequest jason = request().header("end-user", "jason").build();
            check(client.send(jason, BodyHandlers.ofString()), "v2", "GET of jason");
        }
        BodyPublisher whole = BodyPublishers.ofByteArray(body);
        // Of an unknown length.
        BodyPublisher parts = BodyPublishers.fromPublisher(whole);
        check(client.send(request().POST(whole).build(), BodyHandlers.ofString()), sent, "POST");
        check(client.send(request().POST(parts).build(), BodyHandlers.ofString()), sent, "POST in chunks");
        HttpRequest waits = request().expectContinue(true).PUT(whole).build();
        check(client.send(waits, BodyHandlers.ofString()), sent, "PUT that waits for 100");
        HttpRequest head = request().method("HEAD", BodyPublishers.noBody()).build();
        check(client.send(head, BodyHandlers.ofString()), "", "HEAD");
        var many = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        for (int i = 0; i < 100; i++) {
            many.add(client.sendAsync(request().build(), BodyHandlers.ofString()));
        }
        for (var one : many) {
            check(one.get(), "v1", "one of many");
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("jdk.httpclient.allowRestrictedHeaders", "host");
        uri = URI.create(arguments[0]);
        host = arguments[1];
        for (HttpClient.Version version : HttpClient.Version.values()) {
            all(HttpClient.newBuilder().version(version).build());
        }
        System.out.println("ok");
    }
}
