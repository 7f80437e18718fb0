//! The live sets of remote access: who is taken out is cut off at once, and no change of the policy takes anybody out.

use rempart_kernel_tests::fixture::{Fixture, policy};
use rempart_kernel_tests::listing::names;
use rempart_kernel_tests::node::{Failure, in_namespace};
use rempart_plan::Ids;
use rempart_plan::eval::Packet;
use rempart_plan::nft::{Base, TABLE};
use rempart_plan::vpn::{LIVE4, LIVE6};
use rempart_system::nft::Nft;
use tokio::process::Command;

const GROUP: &str = "[vpn.group.agents]\npool = [\"10.77.1.0/24\", \"fd00:77::/64\"]\n";
const FLOWS: &str = "[[flow]]\nid = \"in\"\nfrom = \"vpn:agents\"\nto = \"lan\"\nallow = [\"udp/5000\"]\n\
    [[flow]]\nid = \"out\"\nfrom = \"lan\"\nto = \"vpn\"\nallow = [\"udp/5060\"]\n\
    [[flow]]\nid = \"all\"\nfrom = \"vpn\"\nto = \"lan\"\nallow = [\"udp/6000\"]\n";

async fn element(nft: &Nft, verb: &str, set: &str, element: &str) -> Result<(), Failure> {
    Ok(nft.apply(&format!("{verb} element inet {TABLE} {set} {{ {element} }}\n")).await?)
}

/// What a set holds, as nft lists it.
async fn elements(set: &str) -> Result<String, Failure> {
    let output = Command::new("nft").args(["list", "set", "inet", TABLE, set]).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let inner = text.split("elements = {").nth(1).and_then(|rest| rest.split('}').next());
    Ok(inner.unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Connections of one client in both directions, and of another; the one is taken out and put in again. Meanwhile none of
/// its packets passes either way, established or new, and the other's do.
#[test]
fn a_disconnect_cuts_at_once_and_both_ways() {
    let ran = in_namespace(|| async {
        let mut f = Fixture::new(&format!("{GROUP}{FLOWS}")).await?;
        let nft = f.node.nft().clone();
        // Made empty: nobody passes.
        assert_eq!((elements(LIVE4).await?, elements(LIVE6).await?), (String::new(), String::new()));
        let both = |f: &Fixture, client: &str, host: &str| -> Result<Vec<Packet>, Failure> {
            Ok(vec![
                f.udp("vpn0", (client, 1000), (host, 5000))?,
                f.udp("int0", (host, 5000), (client, 1000))?,
                f.udp("int0", (host, 2000), (client, 5060))?,
                f.udp("vpn0", (client, 5060), (host, 2000))?,
            ])
        };
        let one = both(&f, "10.77.1.5", "192.168.10.10")?;
        let other = both(&f, "10.77.1.6", "192.168.10.10")?;
        let six = both(&f, "fd00:77::5", "fd00:10::10")?;
        assert_eq!(f.passed(&one).await?, 0);
        assert_eq!(f.counted("p.session").await?, 4);
        for (set, address) in [(LIVE4, "10.77.1.5"), (LIVE4, "10.77.1.6"), (LIVE6, "fd00:77::5")] {
            element(&nft, "add", set, address).await?;
        }
        for packets in [&one, &other, &six] {
            assert_eq!(f.pass(packets).await?, [true; 4]);
        }
        element(&nft, "delete", LIVE4, "10.77.1.5").await?;
        assert_eq!(f.pass(&one).await?, [false; 4], "established connections too");
        let fresh = f.udp("vpn0", ("10.77.1.5", 1001), ("192.168.10.10", 5000))?;
        assert_eq!(f.passed(&[fresh]).await?, 0);
        assert_eq!(f.counted("p.session").await?, 9);
        for packets in [&other, &six] {
            assert_eq!(f.pass(packets).await?, [true; 4], "nobody else is");
        }
        element(&nft, "add", LIVE4, "10.77.1.5").await?;
        assert_eq!(f.pass(&one).await?, [true; 4]);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// A network behind a client beside single addresses: the sets take intervals, and the route into the tunnel decides
/// whether a source is genuine.
#[test]
fn a_network_behind_a_client_passes_with_its_route() {
    let ran = in_namespace(|| async {
        let mut f = Fixture::new(&format!("{GROUP}{FLOWS}")).await?;
        let nft = f.node.nft().clone();
        element(&nft, "add", LIVE4, "10.77.1.5, 192.168.77.0/24").await?;
        let packets = [f.udp("vpn0", ("192.168.77.9", 1), ("192.168.10.10", 6000))?];
        assert_eq!(f.pass(&packets).await?, [false]);
        assert_eq!(f.counted("p.spoof").await?, 1);
        let routed =
            Command::new("ip").args(["route", "add", "192.168.77.0/24", "dev", "vpn0"]).status().await?;
        assert!(routed.success());
        assert_eq!(f.pass(&packets).await?, [true]);
        element(&nft, "delete", LIVE4, "192.168.77.0/24").await?;
        assert_eq!(f.pass(&packets).await?, [false]);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// Policies that come and go, by the difference and by the names, and one that only changes who publishes; whoever is
/// connected stays so, throughout. A policy without remote access takes the sets away, and the next one makes them empty.
#[test]
fn no_change_of_the_policy_takes_anybody_out() {
    let ran = in_namespace(|| async {
        let mut f = Fixture::new(&format!("{GROUP}{FLOWS}")).await?;
        let nft = f.node.nft().clone();
        element(&nft, "add", LIVE4, "10.77.1.5, 192.168.77.0/24").await?;
        element(&nft, "add", LIVE6, "fd00:77::5").await?;
        let held = (elements(LIVE4).await?, elements(LIVE6).await?);
        assert_eq!(held, ("10.77.1.5, 192.168.77.0/24".to_owned(), "fd00:77::5".to_owned()));
        let more = "[[flow]]\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"tcp/1-99\"]\n";
        let site =
            "[[flow]]\nfrom = \"wan\"\nto = \"dmz:192.168.20.9\"\nallow = [\"https\"]\npublish = true\n";
        let another = "[vpn]\nport = 1195\n[vpn.group.guests]\npool = \"10.77.2.0/24\"\n";
        for rules in [
            format!("{GROUP}{more}{FLOWS}"),
            format!("{GROUP}{another}{FLOWS}{site}"),
            format!("{GROUP}{FLOWS}"),
        ] {
            let next = policy(&rules, f.policy.ids.clone())?;
            for script in next.plan.ruleset.scripts(Base::Ruleset(f.ruleset())).list {
                f.node.apply(&script).await?;
                assert_eq!(
                    (elements(LIVE4).await?, elements(LIVE6).await?),
                    held,
                    "by the difference: {rules}"
                );
            }
            let known = names(nft.objects(TABLE).await?.ok_or("no table")?);
            for script in next.plan.ruleset.scripts(Base::Names(&known)).list {
                f.node.apply(&script).await?;
                assert_eq!((elements(LIVE4).await?, elements(LIVE6).await?), held, "by the names: {rules}");
            }
            f.policy = next;
        }
        f.change("").await?;
        assert!(elements(LIVE4).await.is_err(), "without remote access there are no live sets");
        f.replace(policy(&format!("{GROUP}{FLOWS}"), Ids::default())?).await?;
        assert_eq!(elements(LIVE4).await?, "");
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}
