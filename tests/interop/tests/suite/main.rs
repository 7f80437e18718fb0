//! The elector beside stock peers. One stage for each test; without root all of them are skipped, and say so.
//!
//! Most of the time is spent waiting for timers of a second, so many tests run at once whatever the number of processors.

mod carp;
mod configure;
mod decode;
mod pair;
mod vrrp2;
mod vrrp3;

use libtest_mimic::{Arguments, Trial, run};

/// Stages at once. More would disturb each other's timers on two processors.
const AT_ONCE: usize = 6;

/// Makes a list of tests of functions.
macro_rules! trials {
    ($($module:ident::{$($test:ident),+ $(,)?}),+ $(,)?) => {
        vec![$($(trial(concat!(stringify!($module), "::", stringify!($test)), $module::$test)),+),+]
    };
}

fn trial(name: &str, test: fn()) -> Trial {
    let run = move || {
        test();
        Ok(())
    };
    Trial::test(name, run)
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if let Some(why) = rempart_lab::obstacle() {
        eprintln!("skipped: {why}");
        return;
    }
    let trials = trials![
        carp::{
            ours_above_ucarp,
            ours_below_ucarp,
            another_password,
        },
        configure::{a_change_disturbs_nothing_else},
        decode::{
            vrrp3_over_ipv4,
            vrrp3_over_ipv4_as_rfc_9568_has_it,
            vrrp3_over_ipv6,
            vrrp2,
            carp,
        },
        pair::{
            the_standby_is_silent,
            a_planned_end_loses_nothing,
            a_killed_worker_is_replaced,
            a_lost_cable_moves_the_role,
            a_cut_sync_cable_changes_nothing,
            adverts_alone_decide_nothing,
            a_power_cut_is_noticed,
            a_healed_split_leaves_one,
            a_silent_gateway_moves_the_role,
        },
        vrrp2::{
            plain,
            with_a_password,
            with_different_passwords,
        },
        vrrp3::{
            a_virtual_link_comes_and_goes,
            ours_above_keepalived_over_ipv4,
            ours_below_keepalived_over_ipv4,
            ours_does_not_preempt_unless_told,
            ours_above_keepalived_over_ipv6,
            ours_below_keepalived_over_ipv6,
            unicast_peers,
        },
    ];
    run(&arguments, trials).exit();
}
