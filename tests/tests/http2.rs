//! HTTP/2 and gRPC work in a jail as they do without, by the clients that people use.

use http::Version;
use httpjail_tests::{Finished, Lab, Origin, Seen};

const RULE: &str = "r.host === 'a.test'";

/// The script says the same without a jail and in one that allows it, and the origin sees as many
/// requests of the same version; in one that doesn't, it says something else and the origin sees
/// none.
fn assert_same(lab: &Lab, origin: &Origin, script: &str, version: Version) -> Finished {
    let start = origin.seen().len();
    let outside = lab.outside().sh(script).exits(0);
    let without = origin.seen()[start..].to_vec();
    assert!(without.iter().all(|seen| seen.version == version), "without a jail: {without:?}");
    let allowed = lab.jail().as_user().js(RULE).sh(script).exits(0);
    assert_eq!(allowed.stdout, outside.stdout, "{allowed:?}");
    let within = origin.seen()[start + without.len()..].to_vec();
    assert!(within.iter().all(|seen| seen.version == version), "{within:?}");
    let lines = |seen: &[Seen]| {
        // Some clients name the default port, which the proxy leaves out.
        let mut lines: Vec<_> = seen.iter().map(|seen| seen.line().replace(":443/", "/")).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(&within), lines(&without));
    assert_eq!(allowed.log.len(), within.len(), "one record for each request: {allowed:?}");
    assert!(allowed.log.iter().all(|line| line.starts_with("+ ")), "{allowed:?}");
    let before = origin.seen().len();
    let denied = lab.jail().as_user().js(&format!("!({RULE})")).sh(script);
    assert_ne!(denied.stdout, outside.stdout, "{denied:?}");
    assert!(!denied.log.is_empty() && denied.log.iter().all(|line| line.starts_with("- ")));
    assert_eq!(origin.seen().len(), before, "a denied request got out");
    allowed
}

fn assert_works(script: &str, version: Version) -> Finished {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let allowed = assert_same(&lab, &a, script, version);
    lab.assert_clean();
    allowed
}

#[test]
fn curl_by_alpn() {
    let curl = "curl -sSf --http2 -w '%{http_version}\\n' https://a.test/x https://a.test/y";
    assert_eq!(assert_works(curl, Version::HTTP_2).stdout.matches("\n2\n").count(), 2);
}

#[test]
fn curl_by_prior_knowledge() {
    let curl = "curl -sSf --http2-prior-knowledge -w '%{http_version}' http://a.test:8080/x";
    assert!(assert_works(curl, Version::HTTP_2).stdout.ends_with('2'));
}

#[test]
fn curl_that_keeps_to_http1() {
    let curl = "curl -sSf --http1.1 -w '%{http_version}' https://a.test/x http://a.test/y";
    assert!(assert_works(curl, Version::HTTP_11).stdout.ends_with("1.1"));
}

#[test]
fn curl_to_an_origin_of_http1() {
    let curl = "curl -sSf --http2 -d body https://a.test:8443/x";
    assert_works(curl, Version::HTTP_11);
}

/// An origin may be asked only once a request to it was allowed; from then on, what it speaks is what
/// its clients are offered.
#[test]
fn an_origin_of_http1_is_known_from_its_first_answer_on() {
    let lab = Lab::new();
    lab.origin("a.test");
    let curl = "for n in 1 2 3; do
        curl -sSf --http2 -o /dev/null -w '%{http_version} ' https://a.test:8443/$n; done";
    assert_eq!(lab.outside().sh(curl).exits(0).stdout, "1.1 1.1 1.1 ");
    assert_eq!(lab.jail().as_user().js(RULE).sh(curl).exits(0).stdout, "2 1.1 1.1 ");
    lab.assert_clean();
}

#[test]
fn long_bodies_both_ways() {
    let lab = Lab::new();
    let a = lab.origin_with("a.test", |seen| httpjail_tests::Reply::new(seen.body.clone().into()));
    let curl = "set -e; cd $(mktemp -d); head -c 30000000 /dev/urandom > file; sha256sum < file > sum
        for url in https://a.test/ https://a.test:8443/; do
            curl -4sSf --http2 -T file $url | sha256sum | cmp - sum && echo same; done
        curl -4sSf --http2-prior-knowledge -T file http://a.test/ | sha256sum | cmp - sum && echo same";
    let outside = lab.outside().sh(curl).exits(0);
    assert_eq!(outside.stdout.matches("same").count(), 3);
    let allowed = lab.jail().as_user().js(RULE).sh(curl).exits(0);
    assert_eq!(allowed.stdout.matches("same").count(), 3, "{allowed:?}");
    assert_eq!(a.seen().len(), 6);
    lab.assert_clean();
}

#[test]
fn nghttp() {
    let nghttp = "nghttp https://a.test/1 https://a.test/2 https://a.test/3";
    assert!(assert_works(nghttp, Version::HTTP_2).stdout.contains("hello from a.test"));
}

#[test]
fn h2load() {
    let count = |url| {
        format!(
            "h2load -n 600 -c 3 -m 20 {url} | grep -o 'requests: .*' | sed 's/, [0-9]* started/,/'"
        )
    };
    for url in ["https://a.test/", "http://a.test/"] {
        let allowed = assert_works(&count(url), Version::HTTP_2);
        assert!(allowed.stdout.contains("600 succeeded, 0 failed, 0 errored"), "{allowed:?}");
    }
}

#[test]
fn node_http2() {
    let program = r#"
const session = require("http2").connect("https://a.test");
let left = 30;
for (let n = 0; n < 30; n++) {
    const stream = session.request({":path": "/" + n, ":method": n % 2 ? "POST" : "GET"});
    let text = "";
    stream.setEncoding("utf8").on("data", piece => text += piece).on("response", head => {
        if (head[":status"] !== 200) process.exit(1);
    }).on("end", () => {
        if (!text.includes("hello from a.test")) process.exit(1);
        if (--left === 0) { console.log("all"); session.close(); }
    });
    stream.end(n % 2 ? "body" : undefined);
}"#;
    assert_eq!(assert_works(&format!("node -e '{program}'"), Version::HTTP_2).stdout, "all\n");
}

/// By the client that comes with Java since 11, built by a small compiler.
#[test]
fn java() {
    const PROGRAM: &str = r#"
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.util.stream.*;

public class Ask {
    public static void main(String[] urls) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        String url = urls[0];
        var answers = IntStream.range(0, 30).parallel().mapToObj(n -> ask(client, url, n));
        System.out.println(answers.distinct().collect(Collectors.toList()));
    }
    static String ask(HttpClient client, String url, int n) {
        var request = HttpRequest.newBuilder(URI.create(url + n));
        if (n % 2 == 1) request.POST(BodyPublishers.ofString("x".repeat(100000)));
        try {
            var reply = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            return reply.statusCode() + " " + reply.version() + " " + reply.body();
        } catch (Exception error) {
            return error.toString();
        }
    }
}"#;
    const STORE: &str = "if [ -z \"$JAVA_TOOL_OPTIONS\" ]; then
        [ -e store ] || keytool -importcert -noprompt -alias lab -storepass changeit -keystore store -file $SSL_CERT_FILE
        export JAVA_TOOL_OPTIONS='-Djavax.net.ssl.trustStore=store -Djavax.net.ssl.trustStorePassword=changeit'
    fi 2> /dev/null; ";
    let lab = Lab::new();
    let a = lab.origin("a.test");
    std::fs::write(lab.home().join("Ask.java"), PROGRAM).expect("the home is there");
    lab.outside().sh("ecj -proc:none -17 Ask.java").exits(0);
    let script = format!("{STORE} java -XX:TieredStopAtLevel=1 -cp . Ask https://a.test/");
    let allowed = assert_same(&lab, &a, &script, Version::HTTP_2);
    assert_eq!(allowed.stdout, "[200 HTTP_2 hello from a.test\n]\n", "{allowed:?}");
    // Without TLS it asks for an upgrade to HTTP/2 (h2c), which goes no further than the proxy.
    let allowed = assert_same(&lab, &a, &script.replace("https:", "http:"), Version::HTTP_11);
    assert_eq!(allowed.stdout, "[200 HTTP_1_1 hello from a.test\n]\n", "{allowed:?}");
    lab.assert_clean();
}

#[test]
fn go() {
    const PROGRAM: &str = r#"package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

func main() {
	var all sync.WaitGroup
	for n := 0; n < 30; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			url := fmt.Sprintf("https://a.test/%d", n)
			var reply *http.Response
			var err error
			if n%2 == 0 {
				reply, err = http.Get(url)
			} else {
				reply, err = http.Post(url, "text/plain", strings.NewReader(strings.Repeat("x", 100000)))
			}
			if err != nil {
				panic(err)
			}
			text, err := io.ReadAll(reply.Body)
			if err != nil || reply.ProtoMajor != 2 || string(text) != "hello from a.test\n" {
				panic(fmt.Sprint(err, reply, string(text)))
			}
		}(n)
	}
	all.Wait()
	fmt.Println("all")
}
"#;
    let lab = Lab::new();
    let a = lab.origin("a.test");
    std::fs::write(lab.home().join("ask.go"), PROGRAM).expect("the home is there");
    let build = "GOCACHE=$PWD/cache GOPATH=$PWD/go go build -o ask ask.go";
    lab.outside().sh(build).exits(0);
    assert_eq!(assert_same(&lab, &a, "./ask", Version::HTTP_2).stdout, "all\n");
    lab.assert_clean();
}

#[test]
fn python_httpx() {
    let program = r#"
import asyncio, httpx
async def main():
    async with httpx.AsyncClient(http2=True, timeout=15) as client:
        def ask(n):
            url = f"https://a.test/{n}"
            return client.post(url, content=b"x" * 100000) if n % 2 else client.get(url)
        for reply in await asyncio.gather(*(ask(n) for n in range(30))):
            assert (reply.status_code, reply.http_version) == (200, "HTTP/2"), reply
            assert reply.text == "hello from a.test\n", reply.text
    print("all")
asyncio.run(main())"#;
    let script = format!("/usr/bin/python3 -c '{program}'");
    assert_eq!(assert_works(&script, Version::HTTP_2).stdout, "all\n");
}

fn assert_grpc(url: &str, client: impl Fn(&httpjail_tests::Invocation<'_>, &str) -> Finished) {
    let lab = Lab::new();
    let a = lab.grpc_origin("a.test");
    let outside = client(&lab.outside(), url).exits(0);
    let calls = a.calls();
    assert!(calls.len() >= 9, "without a jail: {outside:?}");
    let allowed = client(&lab.jail().as_user().js(RULE), url).exits(0);
    assert_eq!(allowed.stdout, outside.stdout, "{allowed:?}");
    assert_eq!(a.calls()[calls.len()..], calls, "{allowed:?}");
    assert_eq!(a.given_up(), 2, "the deadline ends the call at the origin");
    assert_eq!(allowed.log.len(), calls.len(), "{allowed:?}");
    assert!(allowed.log.iter().all(|line| line.starts_with("+ POST ")), "{allowed:?}");
    let denied = client(&lab.jail().as_user().js("false"), url);
    assert_ne!(denied.stdout, outside.stdout);
    assert_eq!(a.calls().len(), 2 * calls.len(), "a denied call got out");
    lab.assert_clean();
}

#[test]
fn grpc_by_tonic() {
    for url in ["https://a.test", "http://a.test:50051"] {
        assert_grpc(url, |invocation, url| {
            let report = invocation.probe(["grpc", url]);
            for expected in [
                r#""unary":"hello""#,
                r#""count":500"#,
                r#""join":5000"#,
                r#""echo":500"#,
                r#""fail":"NotFound: no such thing""#,
                r#""after":"again""#,
            ] {
                let is_denied = report.log.iter().any(|line| line.starts_with("- "));
                assert!(is_denied || report.stdout.contains(expected), "{report:?}");
            }
            report
        });
    }
}

#[test]
fn grpc_by_python() {
    const PROGRAM: &str = r#"
import grpc, sys
target = sys.argv[1]
if target.startswith("https://"):
    channel = grpc.secure_channel(target[8:] + ":443", grpc.ssl_channel_credentials())
else:
    channel = grpc.insecure_channel(target[7:])
def told(call):
    try:
        return call()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
path = "/lab.Lab/".__add__
print(told(lambda: channel.unary_unary(path("Echo"))(b"hello", timeout=10)))
print(len(told(lambda: channel.unary_unary(path("Echo"))(b"x" * 1000000, timeout=10))))
print(told(lambda: sum(1 for _ in channel.unary_stream(path("Count"))(b"500", timeout=10))))
print(told(lambda: channel.stream_unary(path("Join"))((b"0123456789" for _ in range(500)), timeout=10))[-20:])
print(told(lambda: sum(1 for _ in channel.stream_stream(path("Echo"))((b"x" for _ in range(500)), timeout=10))))
print(told(lambda: channel.unary_unary(path("Fail"))(b"", timeout=10)))
print(told(lambda: list(channel.unary_stream(path("FailLate"))(b"", timeout=10))))
print(told(lambda: channel.unary_unary(path("Wait"))(b"", timeout=0.2)))
print(told(lambda: channel.unary_unary(path("Echo"))(b"again", timeout=10)))
"#;
    for url in ["https://a.test", "http://a.test:50051"] {
        assert_grpc(url, |invocation, url| {
            let report = invocation.run(["/usr/bin/python3", "-c", PROGRAM, url]);
            let is_denied = report.log.iter().any(|line| line.starts_with("- "));
            let words = ["hello", "500", "NOT_FOUND: no such thing", "DEADLINE_EXCEEDED"];
            let is_as_expected = words.iter().all(|word| report.stdout.contains(word));
            assert!(is_denied || is_as_expected, "{report:?}");
            report
        });
    }
}
