//! A FreeRADIUS that knows alice (with groups), old, and carol (with a challenge).

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Server;

/// Shared with the server.
pub const SECRET: &str = "a shared secret of the lab";
/// Of alice.
pub const PASSWORD: &str = "Intervention-83, longer than a block!";

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

/// Starts it on port 1812 of the loopback, with its files in this folder.
pub fn serve(path: &Path) -> Server {
    std::fs::write(path.join("radiusd.conf"), configuration(path)).unwrap();
    let mut command = Command::new("freeradius");
    command.args(["-f", "-l", "stdout", "-d"]).arg(path).arg("-D").arg("/usr/share/freeradius");
    let mut server = Server::start(command.stdout(Stdio::inherit()));
    // The port is taken once the server has bound it.
    server.wait_until("port 1812", || UdpSocket::bind("127.0.0.1:1812").is_err());
    server
}
