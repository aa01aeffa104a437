//! BIRD on a host: one process for each family, as Calico runs it, and configured as Calico's templates do.
//!
//! Own blocks are blackholes that are announced; what lies inside of them is not; other addresses of a pool (those
//! borrowed from other hosts' blocks) are. The kernel gets what BGP brought, but nothing of the pools that Felix
//! programs, and keeps it when BIRD ends. Timers are shorter than Calico's (graceful restart 120 s, hold time 240 s):
//! that is all the difference, or each scenario would take minutes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::network::Site;
use crate::picture::Picture;
use crate::process::{Process, within};

/// BIRD of one host.
pub(crate) struct Birds {
    site: Site,
    directory: PathBuf,
    running: Vec<Process>,
    /// The configurations in force, by family.
    written: [String; 2],
}

const FAMILIES: [(&str, bool); 2] = [("bird", false), ("bird6", true)];

impl Birds {
    pub(crate) fn new(site: Site, directory: &Path) -> Birds {
        Birds { site, directory: directory.to_owned(), running: Vec::new(), written: Default::default() }
    }

    fn file(&self, name: &str, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}-{name}.{suffix}", self.site.name))
    }

    fn families(&self) -> impl Iterator<Item = (&'static str, bool)> + use<> {
        let v6 = self.site.v6.is_some();
        FAMILIES.into_iter().filter(move |(_, ipv6)| v6 || !ipv6)
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Starts it with the configuration last written; `-R` waits for peers as after a restart.
    pub(crate) fn start(&mut self) {
        for (name, _) in self.families() {
            let mut command = within(self.site.name, "bird");
            command.arg("-R").arg("-f").arg("-c").arg(self.file(name, "conf"));
            command.arg("-s").arg(self.file(name, "ctl"));
            self.running.push(Process::start(&self.directory, &format!("{}-{name}", self.site.name), command));
        }
    }

    pub(crate) fn kill(&mut self) {
        self.running.drain(..).for_each(|mut process| process.kill());
    }

    pub(crate) fn terminate(&mut self) {
        self.running.drain(..).for_each(|mut process| process.terminate());
    }

    /// Writes the configuration that the picture asks for and, if it changed, has BIRD read it: confd's part.
    pub(crate) fn configure(&mut self, picture: &Picture) {
        for (index, (name, ipv6)) in self.families().enumerate() {
            let text = configuration(&self.site, picture, ipv6);
            if text == self.written[index] {
                continue;
            }
            std::fs::write(self.file(name, "conf"), &text).unwrap();
            self.written[index] = text;
            if self.is_running() {
                self.control(name, "configure");
            }
        }
    }

    /// A word to one of its processes, and its answer.
    pub(crate) fn control(&self, name: &str, words: &str) -> String {
        let output = Command::new("birdc").arg("-s").arg(self.file(name, "ctl")).args(words.split(' ')).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }
}

fn configuration(site: &Site, picture: &Picture, ipv6: bool) -> String {
    let channel = if ipv6 { "ipv6" } else { "ipv4" };
    let of_family = |cidr: &ipnet::IpNet| cidr.addr().is_ipv6() == ipv6;
    let set = |cidrs: &[String]| format!("[ {} ]", cidrs.join(", "));
    let everything_in = |pools: Vec<ipnet::IpNet>| -> Vec<String> {
        pools.iter().filter(|cidr| of_family(cidr)).map(|cidr| format!("{cidr}+")).collect()
    };
    let felix = everything_in(picture.pools.iter().filter(|pool| pool.is_felix()).map(|pool| pool.cidr).collect());
    let pools = everything_in(picture.pools.iter().map(|pool| pool.cidr).collect());
    let own: Vec<_> = picture.announced_by(site.name).filter(|(cidr, _)| of_family(cidr)).collect();
    let address = if ipv6 { site.v6.unwrap_or_default() } else { site.v4 };

    let mut text = format!("log stderr all;\nrouter id {};\nprotocol device {{ scan time 2; }}\n", site.v4);
    writeln!(text, "protocol direct {{ {channel}; interface -\"cali*\", -\"tunl*\", -\"vxlan*\", \"*\"; }}").unwrap();
    text += "filter to_kernel {\n";
    if !felix.is_empty() {
        writeln!(text, "  if net ~ {} then reject;", set(&felix)).unwrap();
    }
    text += "  if source = RTS_BGP then krt_metric = 1024;\n  accept;\n}\nfilter to_peers {\n";
    let exact: Vec<String> = own.iter().filter(|(_, confirmed)| *confirmed).map(|(cidr, _)| cidr.to_string()).collect();
    if !exact.is_empty() {
        let inside: Vec<String> = exact.iter().map(|cidr| format!("{cidr}+")).collect();
        writeln!(text, "  if net ~ {} then accept;\n  if net ~ {} then reject;", set(&exact), set(&inside)).unwrap();
    }
    if !pools.is_empty() {
        writeln!(text, "  if net ~ {} then accept;", set(&pools)).unwrap();
    }
    text += "  reject;\n}\n";
    writeln!(
        text,
        "protocol kernel {{ learn; persist; scan time 2; merge paths on; metric 0; graceful restart on;
  {channel} {{ import all; export filter to_kernel; }}; }}
protocol static own {{ {channel};"
    )
    .unwrap();
    for (cidr, _) in &own {
        writeln!(text, "  route {cidr} blackhole;").unwrap();
    }
    writeln!(
        text,
        "}}
template bgp mesh {{ local {address} as 64512; multihop; graceful restart on; graceful restart time 8;
  hold time 9; keepalive time 3; connect delay time 1; connect retry time 2; error wait time 1,3;
  error forget time 5; {channel} {{ import all; export filter to_peers; add paths on; }}; }}"
    )
    .unwrap();
    let mut peers = vec![address.to_owned()];
    for node in picture.nodes.iter().filter(|node| node.name != site.name && !picture.mesh_off) {
        let Some(peer) = (if ipv6 { &node.v6 } else { &node.v4 }) else { continue };
        // confd leaves out the host's own address, and a second session to one address stays idle.
        if peers.contains(&peer.to_string()) {
            continue;
        }
        peers.push(peer.to_string());
        // Of two nodes one calls, or their calls would collide.
        let passive = if node.name.as_str() > site.name { "" } else { " passive on;" };
        writeln!(text, "protocol bgp mesh_{} from mesh {{ neighbor {peer} as 64512;{passive} }}", node.name).unwrap();
    }
    text
}
