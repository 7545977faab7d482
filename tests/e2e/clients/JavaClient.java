/*
 * One chat request with Java's own TLS (JSSE), which no uprobe reaches. Enters: SSL_CERT_FILE, the host as the only argument.
 * Leaves: the answer's status on standard output. Started as one source file: `java JavaClient.java api.openai.com`.
 */

import java.io.FileInputStream;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class JavaClient {
    public static void main(String[] arguments) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream file = new FileInputStream(System.getenv("SSL_CERT_FILE"))) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);

        URI to = URI.create("https://" + arguments[0] + "/v1/chat/completions");
        HttpsURLConnection call = (HttpsURLConnection) to.toURL().openConnection();
        call.setSSLSocketFactory(tls.getSocketFactory());
        call.setRequestMethod("POST");
        call.setRequestProperty("Content-Type", "application/json");
        call.setRequestProperty("Authorization", "Bearer sk-none");
        call.setDoOutput(true);
        String body = "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"canary-java\"}]}";
        call.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
        System.out.println(call.getResponseCode());
    }
}
