//! The compiled ruleset in the real kernel against the reference evaluator (invariant I1): the same random
//! packets through both, and the same random steps from one policy to the next.
//!
//! ```text
//! seed ─▶ document ─read─▶ model ─┬─ Plan::of ─▶ ruleset, network ─▶ a namespace with TUN devices ─┐
//!                                 │                 packets, biased to the edges of the policy ────┤
//!                                 └─ Evaluator ───────────────────▶ what must happen ──── compare ─┴─▶ 0 different
//! ```
//!
//! Compared are each packet's fate (the leg it leaves by, its addresses and ports, the answer that it gets), the
//! connection mark of what is let through, and every named counter. `REMPART_SEED` replays a run,
//! `REMPART_FULL=1` makes it long.
//!
//! Not sent, because the evaluator leaves it to the kernel and says so: sources that no host can have (martians,
//! multicast), addresses of IPv6 links, packets whose hop limit runs out, and fragments.

pub mod document;
pub mod fixture;
pub mod judge;
pub mod listing;
pub mod node;
pub mod packet;
pub mod policy;
pub mod random;
pub mod traffic;
