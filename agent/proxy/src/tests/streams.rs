//! HTTP/2 on either side, and both: streams, trailers, resets, the end.

use std::{future::poll_fn, time::Duration};

use agent_model::{
    requests::route::{Retries, RetryOn, Route},
    resource::protocol::AppProtocol,
};
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{self, SendRequest},
    server::{self, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    rig::{Rig, soon},
    talk::{FINE, GET, accept, hear, say},
    way::{speaking, way_of},
};

/// A client of HTTP/2; its connection is driven by a task of the rig's.
async fn client(rig: &mut Rig) -> SendRequest<Bytes> {
    let stream = rig.dial().await;
    // So wide that a stream that is not read leaves room for others.
    let handshake =
        client::Builder::new().initial_connection_window_size(1 << 20).handshake(stream);
    let (send, connection) = soon(handshake).await.unwrap();
    rig.tasks.spawn(async move {
        // How it ends is what tests look at, stream by stream.
        let _ = connection.await;
    });
    send
}

/// An upstream of HTTP/2.
struct Server(server::Connection<TcpStream, Bytes>);

impl Server {
    async fn accept(rig: &Rig) -> Self {
        Self(soon(server::handshake(accept(rig).await)).await.unwrap())
    }

    /// The next stream.
    async fn next(&mut self) -> (Request<RecvStream>, SendResponse<Bytes>) {
        soon(self.0.accept()).await.expect("a stream").unwrap()
    }

    /// Goes on in a task of the rig's.
    fn go_on(mut self, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { while let Some(Ok(_)) = self.0.accept().await {} });
    }
}

fn get(path: &str) -> Request<()> {
    Request::builder()
        .uri(format!("http://reviews{path}"))
        .header("x-one", "1")
        .header("x-request-id", "7")
        .body(())
        .unwrap()
}

fn call() -> Request<()> {
    let call = Request::builder().method("POST").uri("http://reviews/old.Cart/Add");
    call.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

async fn whole(mut body: RecvStream) -> (String, HeaderMap) {
    let mut text = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    let trailers = soon(body.trailers()).await.unwrap().unwrap_or_default();
    (String::from_utf8(text).unwrap(), trailers)
}

fn grpc(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))])
}

#[tokio::test]
async fn a_call_with_trailers_goes_through_and_its_connection_is_shared() {
    let mut rig = speaking(AppProtocol::Grpc, |_| {}).await;
    let mut send = client(&mut rig).await;
    let mut server: Option<Server> = None;
    for _ in 0..3 {
        let (response, mut body) = send.send_request(call(), false).unwrap();
        body.send_data(Bytes::from_static(b"ping"), true).unwrap();
        let mut own = match server.take() {
            Some(own) => own,
            None => Server::accept(&rig).await,
        };
        let (request, mut respond) = own.next().await;
        assert_eq!(request.uri(), "http://reviews/new.Cart/Add");
        assert_eq!(request.headers()["te"], "trailers");
        let answering = async {
            let (text, _) = whole(request.into_body()).await;
            assert_eq!(text, "ping");
            let head = Response::builder().header("content-type", "application/grpc");
            let mut out = respond.send_response(head.body(()).unwrap(), false).unwrap();
            out.send_data(Bytes::from_static(b"pong"), false).unwrap();
            out.send_trailers(grpc("0")).unwrap();
            let answer = soon(response).await.unwrap();
            whole(answer.into_body()).await
        };
        let (text, trailers) = tokio::select! {
            found = answering => found,
            _ = own.0.accept() => panic!("no other stream"),
        };
        assert_eq!(
            (text.as_str(), &trailers["grpc-status"]),
            ("pong", &HeaderValue::from_static("0"))
        );
        server = Some(own);
    }
    for _ in 0..3 {
        let told = rig.exchanged().await;
        assert_eq!((told.status, told.tries, told.flags.to_string().as_str()), (200, 1, "-"));
    }
}

#[tokio::test]
async fn a_client_of_http_2_reaches_a_server_of_http_1() {
    let mut rig = speaking(AppProtocol::Http, |_| {}).await;
    let mut send = client(&mut rig).await;
    let (response, _) = send.send_request(get("/old?a=1"), true).unwrap();
    let mut server = accept(&rig).await;
    let seen = hear(&mut server, "\r\n\r\n").await;
    assert_eq!(
        seen,
        "GET /new?a=1 HTTP/1.1\r\nhost: reviews\r\nx-one: 1\r\nx-request-id: 7\r\n\r\n"
    );
    say(
        &mut server,
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nX-Two: 2\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 3\r\n\r\n",
    )
    .await;
    let answer = soon(response).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-two"]),
        (200, &HeaderValue::from_static("2"))
    );
    let (text, trailers) = whole(answer.into_body()).await;
    assert_eq!((text.as_str(), &trailers["x-sum"]), ("hi", &HeaderValue::from_static("3")));
}

#[tokio::test]
async fn a_client_of_http_1_reaches_a_server_of_http_2() {
    let mut rig = speaking(AppProtocol::Http2, |_| {}).await;
    let mut client = rig.dial().await;
    say(
        &mut client,
        "POST /old HTTP/1.1\r\nHost: reviews\r\nX-One: 1\r\nContent-Length: 4\r\n\r\nping",
    )
    .await;
    let mut server = Server::accept(&rig).await;
    let (request, mut respond) = server.next().await;
    assert_eq!(request.uri(), "http://reviews/new");
    assert_eq!(request.headers()["content-length"], "4");
    server.go_on(&mut rig.tasks);
    assert_eq!(whole(request.into_body()).await.0, "ping");
    let mut out = respond.send_response(Response::new(()), false).unwrap();
    out.send_data(Bytes::from_static(b"pong"), true).unwrap();
    let heard = hear(&mut client, "0\r\n\r\n").await;
    assert_eq!(
        heard,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npong\r\n0\r\n\r\n"
    );
    // Its connection goes on.
    say(&mut client, GET).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_stops_no_other() {
    let mut rig = speaking(AppProtocol::Http2, |_| {}).await;
    let mut send = client(&mut rig).await;
    let (slow, _) = send.send_request(get("/slow"), true).unwrap();
    let mut server = Server::accept(&rig).await;
    let (_, mut respond) = server.next().await;
    let mut out = respond.send_response(Response::new(()), false).unwrap();
    out.reserve_capacity(8 << 20);
    out.send_data(Bytes::from(vec![0; 8 << 20]), true).unwrap();
    let (quick, _) = send.send_request(get("/quick"), true).unwrap();
    let (_, mut respond) = server.next().await;
    server.go_on(&mut rig.tasks);
    let mut out = respond.send_response(Response::new(()), false).unwrap();
    out.send_data(Bytes::from_static(b"hi"), true).unwrap();
    let answer = soon(quick).await.unwrap();
    assert_eq!(whole(answer.into_body()).await.0, "hi");
    // And the slow one is whole in the end.
    let answer = soon(slow).await.unwrap();
    assert_eq!(whole(answer.into_body()).await.0.len(), 8 << 20);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_at_the_upstream() {
    let mut rig = speaking(AppProtocol::Grpc, |_| {}).await;
    let mut send = client(&mut rig).await;
    let (response, mut body) = send.send_request(call(), false).unwrap();
    let mut server = Server::accept(&rig).await;
    let (_request, mut respond) = server.next().await;
    server.go_on(&mut rig.tasks);
    body.send_reset(Reason::CANCEL);
    drop(response);
    let reason = soon(poll_fn(|context| respond.poll_reset(context))).await.unwrap();
    assert_eq!(reason, Reason::CANCEL);
    assert_eq!(rig.exchanged().await.flags.to_string(), "DC");
}

#[tokio::test]
async fn an_upstream_that_resets_is_unavailable_to_a_call() {
    let mut rig = speaking(AppProtocol::Grpc, |route| way_of(route).retries = None).await;
    let mut send = client(&mut rig).await;
    let (response, _) = send.send_request(call(), true).unwrap();
    let mut server = Server::accept(&rig).await;
    let (_request, mut respond) = server.next().await;
    respond.send_reset(Reason::REFUSED_STREAM);
    server.go_on(&mut rig.tasks);
    let answer = soon(response).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["grpc-status"]),
        (200, &HeaderValue::from_static("14"))
    );
    assert_eq!(rig.exchanged().await.flags.to_string(), "UR");
}

fn unavailable(route: &mut Route) {
    let on = [RetryOn::GrpcUnavailable, RetryOn::RefusedStream].into();
    let retries =
        Retries { attempts: 2, on, backoff: Duration::from_millis(1), ..Retries::usual() };
    way_of(route).retries = Some(retries);
}

#[tokio::test]
async fn a_refused_stream_and_a_status_that_a_route_names_are_tried_again() {
    let mut rig = speaking(AppProtocol::Grpc, unavailable).await;
    let mut send = client(&mut rig).await;
    let (response, mut body) = send.send_request(call(), false).unwrap();
    body.send_data(Bytes::from_static(b"ping"), true).unwrap();
    let mut server = Server::accept(&rig).await;
    let (_request, mut respond) = server.next().await;
    respond.send_reset(Reason::REFUSED_STREAM);
    let (_request, mut respond) = server.next().await;
    let head = Response::builder().header("grpc-status", "14").body(()).unwrap();
    respond.send_response(head, true).unwrap();
    let (request, mut respond) = server.next().await;
    server.go_on(&mut rig.tasks);
    assert_eq!(whole(request.into_body()).await.0, "ping", "the body is sent each time");
    let head = Response::builder().header("grpc-status", "0").body(()).unwrap();
    respond.send_response(head, true).unwrap();
    let answer = soon(response).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    assert!(answer.body().is_end_stream(), "trailers alone stay trailers alone");
    assert_eq!(rig.exchanged().await.tries, 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset_and_other_streams_go_on() {
    let mut rig = speaking(AppProtocol::Http, |_| {}).await;
    let mut send = client(&mut rig).await;
    let (response, _) = send.send_request(get("/half"), true).unwrap();
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "half");
    drop(server);
    let broken = soon(body.data()).await.unwrap().unwrap_err();
    assert_eq!(broken.reason(), Some(Reason::INTERNAL_ERROR));
    let (response, _) = send.send_request(get("/next"), true).unwrap();
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    say(&mut server, FINE).await;
    assert_eq!(whole(soon(response).await.unwrap().into_body()).await.0, "hi");
}

#[tokio::test]
async fn two_hosts_in_one_request_are_refused_and_reach_nobody() {
    let mut rig = speaking(AppProtocol::Http, |_| {}).await;
    let mut send = client(&mut rig).await;
    let mut request = get("/x");
    request.headers_mut().insert("host", HeaderValue::from_static("other"));
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 400);
    assert_eq!(rig.exchanged().await.flags.to_string(), "DPE");
}

#[tokio::test]
async fn a_drain_sends_goaway_and_lets_streams_finish() {
    let mut rig = speaking(AppProtocol::Http, |_| {}).await;
    let mut send = client(&mut rig).await;
    let (response, _) = send.send_request(get("/x"), true).unwrap();
    let mut server = accept(&rig).await;
    hear(&mut server, "\r\n\r\n").await;
    rig.trigger.drain(Duration::from_secs(5));
    say(&mut server, FINE).await;
    assert_eq!(whole(soon(response).await.unwrap().into_body()).await.0, "hi");
    let refused = async {
        loop {
            match send.clone().ready().await {
                Err(error) => return error,
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    soon(refused).await;
}
