mod units;
mod world;

/// What is wrong, to see that the checks see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    /// Nothing: the product.
    None,
    /// A change is committed once it is on its way.
    CommitsOnSending,
    /// A follower takes messages that answer an earlier invitation.
    AnyInvitation,
    /// The map is owned at once, whatever the follower holds.
    NeverAsks,
    /// A move goes on before the other node has everything.
    ReadyBeforeAll,
}
