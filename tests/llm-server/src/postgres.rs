//! Enters: a connection of a Postgres client, after TLS. Leaves: it is let in without a password, and each simple query comes back as
//! one row that holds the query's own text. Never runs anything: it stands for a vector store, so that a tap has plain bytes to see that are
//! no HTTP. The protocol: postgresql.org/docs/current/protocol-flow.html and protocol-message-formats.html.

use std::io::{self, Error, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client sends before TLS to ask for it (SSLRequest); a TLS handshake begins with another byte.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// The answer to it.
pub(crate) const SSL_YES: u8 = b'S';
/// What libpq offers from 17 on, and insists on.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// Longest message that is taken, in bytes.
const MAX_MESSAGE_BYTES: u32 = 16 << 20;
/// Protocol 3.0.
const PROTOCOL: [u8; 4] = [0, 3, 0, 0];
/// The type `text`.
const TEXT_OID: u32 = 25;

/// What clients ask the server before they work (libpq's and psycopg2's own needs).
const PARAMETERS: [(&str, &str); 5] = [
    ("server_version", "17.0"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("standard_conforming_strings", "on"),
];

/// Serves one connection to its end.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    if !body(&mut stream).await?.starts_with(&PROTOCOL) {
        return Err(Error::new(ErrorKind::InvalidData, "a start of another protocol than Postgres 3.0"));
    }
    let mut welcome = message(b'R', &0_u32.to_be_bytes()); // AuthenticationOk
    for (name, value) in PARAMETERS {
        welcome.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    welcome.extend(message(b'Z', b"I"));
    stream.write_all(&welcome).await?;
    loop {
        stream.flush().await?;
        let kind = match stream.read_u8().await {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            kind => kind?,
        };
        let text = body(&mut stream).await?;
        match kind {
            b'Q' => stream.write_all(&row(text.strip_suffix(b"\0").unwrap_or(&text))).await?,
            b'X' => return stream.shutdown().await,
            _ => return Err(Error::new(ErrorKind::InvalidData, "a message that is no simple query")),
        }
    }
}

/// One message's body: its length comes first and counts itself.
async fn body(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let rest = length.checked_sub(4).filter(|_| length <= MAX_MESSAGE_BYTES);
    let rest = rest.ok_or_else(|| Error::new(ErrorKind::InvalidData, "a message of a wrong length"))?;
    let mut body = Vec::new();
    stream.take(u64::from(rest)).read_to_end(&mut body).await?;
    if body.len() == rest as usize { Ok(body) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// A message; nothing that we send is long enough for its length to overflow.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

/// The answer to a query: one row of one column.
fn row(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut description = vec![0, 1]; // one field: name, no table, no column of it, type, its size, no modifier, as text
    description.extend(b"echo\0\0\0\0\0\0\0");
    description.extend(TEXT_OID.to_be_bytes());
    description.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    [
        message(b'T', &description),
        message(b'D', &[&[0, 1], &length.to_be_bytes()[..], text].concat()),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends, and what comes back until we hang up.
    async fn talk(client: &[u8]) -> (io::Result<()>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(serve(near));
        far.write_all(client).await.unwrap();
        far.shutdown().await.unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        (server.await.unwrap(), answer)
    }

    fn start(protocol: [u8; 4]) -> Vec<u8> {
        [&13_u32.to_be_bytes()[..], &protocol, b"user\0"].concat()
    }

    #[tokio::test]
    async fn a_query_comes_back_as_a_row() {
        let client = [start(PROTOCOL), message(b'Q', b"SELECT 'x'\0"), message(b'X', b"")].concat();
        let (served, answer) = talk(&client).await;
        served.unwrap();
        assert!(answer.starts_with(b"R\0\0\0\x08\0\0\0\0S"), "{answer:?}");
        let data = message(b'D', b"\0\x01\0\0\0\x0aSELECT 'x'");
        assert!(answer.windows(data.len()).any(|window| window == data), "{answer:?}");
        assert!(answer.ends_with(&message(b'Z', b"I")), "{answer:?}");
    }

    #[tokio::test]
    async fn what_is_no_postgres_is_refused() {
        let long = [start(PROTOCOL), b"Q\xff\xff\xff\xff".to_vec()].concat();
        let short = [start(PROTOCOL), b"Q\0\0\0\x03".to_vec()].concat();
        let other = [start(PROTOCOL), message(b'P', b"\0SELECT\0\0\0")].concat();
        for wrong in [start([0, 2, 0, 0]), long, short, other, b"\0\0\0\x09abc".to_vec()] {
            talk(&wrong).await.0.unwrap_err();
        }
        talk(&start(PROTOCOL)).await.0.unwrap();
    }
}
