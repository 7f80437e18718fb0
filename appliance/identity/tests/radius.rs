//! Against a real FreeRADIUS, in a network namespace of this test: right, wrong, challenge, groups, a server that is dead, a
//! secret that is wrong, an answer without Message-Authenticator.

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Server, can_run, in_a_namespace};
use rempart_identity::demand::RadiusAnswer;
use rempart_identity::radius::{Question, Radius, RadiusConfig, RadiusServer};
use rempart_identity::secret::Secret;

const SECRET: &str = "a shared secret of the lab";
const PASSWORD: &str = "Intervention-83, longer than a block!";

/// A configuration with one virtual server and no files but this one. The answer about `old` is as servers made it before 2024.
fn configuration(path: &Path) -> String {
    let path = path.display();
    format!(
        r#"
prefix = /usr
logdir = {path}
run_dir = {path}
libdir = /usr/lib/freeradius
pidfile = {path}/pid
max_request_time = 10
security {{
  allow_core_dumps = no
  reject_delay = 0
}}
client lab {{
  ipaddr = 127.0.0.0/8
  secret = "{SECRET}"
  require_message_authenticator = yes
}}
modules {{
  pap {{
  }}
}}
server lab {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = 1812
  }}
  authorize {{
    if (&User-Name == "alice") {{
      update control {{
        Cleartext-Password := "{PASSWORD}"
      }}
      update reply {{
        Filter-Id := "vpn-agents"
        Class := "vpn-admins"
      }}
    }}
    if (&User-Name == "old") {{
      update control {{
        Cleartext-Password := "{PASSWORD}"
      }}
    }}
    if (&User-Name == "carol") {{
      if (!&State) {{
        update control {{
          Response-Packet-Type := Access-Challenge
          Auth-Type := Accept
        }}
        update reply {{
          State := 0x010203
          Reply-Message := "Code?"
        }}
      }}
      elsif (&State == 0x010203) {{
        update control {{
          Cleartext-Password := "424242"
        }}
      }}
    }}
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
  }}
  post-auth {{
    if (&User-Name != "old") {{
      update reply {{
        Message-Authenticator := 0x00
      }}
    }}
    Post-Auth-Type REJECT {{
      update reply {{
        Message-Authenticator := 0x00
        Reply-Message := "not you"
      }}
    }}
    Post-Auth-Type Challenge {{
      update reply {{
        Message-Authenticator := 0x00
      }}
    }}
  }}
}}
"#
    )
}

fn radius(servers: &[(SocketAddr, &str)]) -> Radius {
    let server = |(address, secret): &(SocketAddr, &str)| RadiusServer {
        address: *address,
        secret: Secret::from(*secret),
    };
    Radius::new(RadiusConfig {
        servers: servers.iter().map(server).collect(),
        identifier: "rempart".to_owned(),
        groups: [("vpn-agents", "agents"), ("vpn-admins", "admins")]
            .map(|(mark, group)| (mark.to_owned(), group.parse().unwrap()))
            .into(),
        source: None,
        patience: Duration::from_millis(700),
    })
    .unwrap()
}

fn ask(radius: &Radius, name: &str, password: &str, state: Option<&[u8]>) -> RadiusAnswer {
    let client = Some(Ipv4Addr::new(198, 51, 100, 7).into());
    radius.ask(&Question { name, password: &Secret::from(password), state, client })
}

#[test]
fn a_real_radius_server() {
    if can_run("RADIUS", &["/usr/sbin/freeradius"]) {
        in_a_namespace(run);
    }
}

fn run() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("radiusd.conf"), configuration(directory.path())).unwrap();
    let mut command = Command::new("freeradius");
    command.args(["-f", "-l", "stdout", "-d"]).arg(directory.path()).arg("-D").arg("/usr/share/freeradius");
    let mut server = Server::start(command.stdout(Stdio::inherit()));
    let alive = SocketAddr::from(([127, 0, 0, 1], 1812));
    let good = radius(&[(alive, SECRET)]);
    // The port is taken once the server has bound it.
    server.wait_until("port 1812", || UdpSocket::bind(alive).is_err());

    let both = ["agents".parse().unwrap(), "admins".parse().unwrap()].into();
    assert_eq!(ask(&good, "alice", PASSWORD, None), RadiusAnswer::Accept(both));
    let no = RadiusAnswer::Reject("RADIUS says: not you".to_owned());
    assert_eq!(ask(&good, "alice", "wrong", None), no);
    assert_eq!(ask(&good, "nobody", PASSWORD, None), no);
    let asked = ask(&good, "carol", "first factor", None);
    assert_eq!(asked, RadiusAnswer::Challenge { text: "Code?".to_owned(), state: vec![1, 2, 3] });
    assert_eq!(ask(&good, "carol", "424242", Some(&[1, 2, 3])), RadiusAnswer::Accept([].into()));
    assert_eq!(ask(&good, "carol", "000000", Some(&[1, 2, 3])), no);

    // Nobody on the first: refused by the kernel at once, and the next is asked.
    let dead = SocketAddr::from(([127, 0, 0, 9], 1812));
    let start = Instant::now();
    let two = radius(&[(dead, SECRET), (alive, SECRET)]);
    assert!(matches!(ask(&two, "alice", PASSWORD, None), RadiusAnswer::Accept(_)));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // One that is silent, and one whose secret is another: no answer counts.
    let silent = UdpSocket::bind("127.0.0.8:1812").unwrap();
    let start = Instant::now();
    let two = radius(&[(silent.local_addr().unwrap(), SECRET), (alive, SECRET)]);
    assert!(matches!(ask(&two, "alice", PASSWORD, None), RadiusAnswer::Accept(_)));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(matches!(ask(&two, "alice", PASSWORD, None), RadiusAnswer::Accept(_)));
    assert!(start.elapsed() < Duration::from_secs(6), "the one that answered last is asked first");
    let old = ask(&good, "old", PASSWORD, None);
    let lacks = |why: &String| why.contains("no right Message-Authenticator");
    assert!(matches!(&old, RadiusAnswer::Unavailable(why) if lacks(why)), "{old:?}");
    let wrong = radius(&[(alive, "another secret of the lab")]);
    let answer = ask(&wrong, "alice", PASSWORD, None);
    assert!(matches!(&answer, RadiusAnswer::Unavailable(_)), "{answer:?}");
}
