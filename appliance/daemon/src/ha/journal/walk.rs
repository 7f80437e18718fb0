//! Reading the whole table in steps: connections, then those that belong to another, then expectations. So whoever writes
//! what is visited into another kernel writes no entry before its master.

use std::io;
use std::net::IpAddr;

use rempart_system::flowsync::{Dump, Progress, Record, Table};

/// Connections with a master that are kept back until those without are through, 2 MB. More are visited at once: their
/// writer puts up with a master that is not there yet.
const MAX_CHILDREN: usize = 4096;

/// Which entries are the pair's business.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    own: Vec<IpAddr>,
    everything: bool,
}

impl Filter {
    /// All but those from or to `own`, or which never leave their link or machine.
    pub(super) fn new(own: &[IpAddr]) -> Self {
        let mut own = own.to_vec();
        own.sort_unstable();
        Self { own, everything: false }
    }

    /// All.
    pub(super) fn everything() -> Self {
        Self { own: Vec::new(), everything: true }
    }

    pub(super) fn passes(&self, record: &Record) -> bool {
        match record {
            _ if self.everything => true,
            Record::Flow(flow) => flow.addresses().iter().all(|address| self.travels(address)),
            Record::Expectation(expectation) => {
                let (_, master) = expectation.master;
                [master.source, master.destination].iter().all(|address| self.travels(address))
            }
        }
    }

    fn travels(&self, address: &IpAddr) -> bool {
        let stays = match address {
            IpAddr::V4(a) => a.is_loopback() || a.is_unspecified() || a.is_link_local() || a.is_broadcast(),
            IpAddr::V6(a) => a.is_loopback() || a.is_unspecified() || a.is_unicast_link_local(),
        };
        !stays && self.own.binary_search(address).is_err()
    }
}

/// See the head of the file.
pub(super) struct Walk {
    dump: Dump,
    table: Table,
    children: Vec<Record>,
}

impl Walk {
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { dump: Dump::start(Table::Flows)?, table: Table::Flows, children: Vec::new() })
    }

    /// Visits about `max` entries; true when all were.
    pub(super) fn step(
        &mut self,
        max: usize,
        filter: &Filter,
        visit: &mut dyn FnMut(&Record),
    ) -> io::Result<bool> {
        let children = &mut self.children;
        let mut sort = |record: &Record| {
            if !filter.passes(record) {
                return;
            }
            match (record.depth(), children.len()) {
                (1, waiting) if waiting < MAX_CHILDREN => children.push(*record),
                _ => visit(record),
            }
        };
        match (self.dump.step(max, &mut sort)?, self.table) {
            (Progress::More, _) => Ok(false),
            (Progress::Restarted, _) => {
                self.children.clear();
                Ok(false)
            }
            (Progress::Done, Table::Flows) => {
                self.children.drain(..).for_each(|record| visit(&record));
                self.table = Table::Expectations;
                self.dump = Dump::start(Table::Expectations)?;
                Ok(false)
            }
            (Progress::Done, Table::Expectations) => Ok(true),
        }
    }
}
