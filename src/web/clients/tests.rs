use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn patience() -> Patience {
    Patience { first: SECOND * 10, idle: SECOND * 75, progress: SECOND * 30, answer: SECOND * 120, stalled: SECOND }
}

fn peer(number: u8) -> Peer {
    IpAddr::from([192, 0, 2, number]).into()
}

/// Whether this ends within a time that is not waited for, since the clock is stopped.
async fn within(time: Duration, what: impl Future<Output = ()>) -> bool {
    timeout(time, what).await.is_ok()
}

#[test]
fn a_peer_is_an_address_or_a_network_of_one_client() {
    let peer = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
    assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
    assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
}

#[tokio::test(start_paused = true)]
async fn each_thing_has_its_time() {
    let clients = Clients::new(10, patience());
    let silent = clients.place(peer(1)).await;
    assert!(!within(SECOND * 9, silent.over()).await && within(SECOND * 2, silent.over()).await);

    let connection = clients.place(peer(1)).await;
    let ongoing = connection.begin(None);
    assert!(!within(SECOND * 100, connection.over()).await, "it is being made");
    ongoing.sending(1, 10);
    for _ in 0..10 {
        assert!(!within(SECOND, connection.over()).await, "its reader takes it");
        ongoing.progressed();
    }
    assert!(within(SECOND * 11, connection.over()).await, "120 s are over");

    let connection = clients.place(peer(1)).await;
    let ongoing = connection.begin(None);
    ongoing.sending(1, 10);
    assert!(!within(SECOND * 29, connection.over()).await && within(SECOND * 2, connection.over()).await);
    drop(ongoing);
    assert!(!within(SECOND * 74, connection.over()).await && within(SECOND * 2, connection.over()).await, "idle");
}

/// Of two streams on one connection, the one that nobody takes is given up alone, though it began to be sent while
/// nothing was due for long.
#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_given_up_alone() {
    let clients = Clients::new(10, patience());
    let connection = clients.place(peer(1)).await;
    let stops: [Arc<Notify>; 2] = Default::default();
    let [stalled, read] = stops.each_ref().map(|stop| connection.begin(Some(stop.clone())));
    let sending = async {
        sleep(SECOND * 5).await;
        stalled.sending(1, 10);
        read.sending(2, 10);
        for _ in 0..40 {
            sleep(SECOND).await;
            read.progressed();
            // It cannot be said for which of them.
            connection.wrote();
        }
    };
    tokio::select! {
        () = connection.over() => panic!("the connection goes on"),
        () = sending => {}
    }
    assert!(within(Duration::ZERO, stops[0].notified()).await);
    assert!(!within(Duration::ZERO, stops[1].notified()).await);
}

#[tokio::test(start_paused = true)]
async fn stalled_then_unknown_then_idle_ones_give_way() {
    let clients = Clients::new(6, patience());
    let served = clients.place(peer(1)).await;
    served.begin(None).admitted();
    let _serving = served.begin(None);
    let idle = clients.place(peer(1)).await;
    idle.begin(None).admitted();
    let guessing = clients.place(peer(1)).await;
    let _guess = guessing.begin(None);
    let silent = clients.place(peer(1)).await;
    // Asked after the others, and was sent away.
    let refused = clients.place(peer(1)).await;
    sleep(SECOND).await;
    drop(refused.begin(None));
    let stalled = clients.place(peer(1)).await;
    let sent = stalled.begin(None);
    sent.admitted();
    sent.sending(1, 10);
    sleep(SECOND * 2).await;
    let mut held = [Some(served), Some(idle), Some(guessing), Some(silent), Some(refused), Some(stalled)];
    let mut newcomers = Vec::new();
    for expected in [5, 4, 3, 2, 1] {
        let waiting = clients.place(peer(1));
        tokio::pin!(waiting);
        assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "nobody has gone yet");
        for (at, connection) in held.iter().enumerate() {
            let Some(connection) = connection else { continue };
            assert_eq!(within(Duration::ZERO, connection.evicted.notified()).await, at == expected, "{at}");
        }
        held[expected] = None;
        let newcomer = timeout(SECOND, waiting).await.expect("its place");
        newcomer.begin(None).admitted();
        let ongoing = newcomer.begin(None);
        newcomers.push((newcomer, ongoing));
    }
    // All are being served, and all come from one peer: somebody from there waits, and from elsewhere does not.
    assert!(timeout(SECOND, clients.place(peer(1))).await.is_err());
    let other = clients.place(peer(2));
    tokio::pin!(other);
    assert!(timeout(Duration::from_millis(100), &mut other).await.is_err());
    assert!(within(Duration::ZERO, held[0].as_ref().unwrap().evicted.notified()).await, "the longest");
}

/// Many that come at once and say nothing do not push out each other, nor the one among them that asks in a moment.
#[tokio::test(start_paused = true)]
async fn a_newcomer_is_not_the_one_that_goes() {
    let clients = Clients::new(2, patience());
    let _one = clients.place(peer(1)).await;
    sleep(Duration::from_millis(50)).await;
    let other = clients.place(peer(1)).await;
    let waiting = clients.place(peer(1));
    assert!(timeout(Duration::from_millis(440), waiting).await.is_err());
    assert!(!within(Duration::ZERO, other.evicted.notified()).await);
    let waiting = clients.place(peer(1));
    assert!(timeout(Duration::from_millis(55), waiting).await.is_err());
    assert!(!within(Duration::ZERO, other.evicted.notified()).await, "the older one goes");
}

#[tokio::test(start_paused = true)]
async fn leaves_are_shared_out_and_a_stalled_answer_gives_its_up() {
    let clients = Clients::new(100, patience());
    let connections = [clients.place(peer(1)).await, clients.place(peer(1)).await, clients.place(peer(1)).await];
    let mut held = Vec::new();
    let mut got = [0; 3];
    for (connection, got) in connections.iter().zip(&mut got) {
        for _ in 0..32 {
            let ongoing = connection.begin(Some(Arc::default()));
            if let Ok(Ok(leave)) = timeout(Duration::ZERO, ongoing.leave(40)).await {
                *got += 1;
                held.push((ongoing, leave));
            }
        }
    }
    assert_eq!(got, [10, 10, 0], "a connection has a quarter, a peer half");
    let scraper = clients.place(peer(2)).await;
    let scrape = scraper.begin(None);
    assert!(scrape.leave(40).await.is_ok());
    // Nobody takes any of these: the peer's next request has the leave of one of them.
    for (ongoing, _) in &held {
        ongoing.sending(1, 10);
    }
    let began = Instant::now();
    let next = connections[2].begin(None);
    let give_way = async {
        loop {
            sleep(Duration::from_millis(20)).await;
            for at in 0..held.len() {
                let stop = clients.table().stop_of(held[at].0.connection, held[at].0.answer);
                if within(Duration::ZERO, stop.notified()).await {
                    drop(held.remove(at));
                    return;
                }
            }
        }
    };
    let (leave, ()) = tokio::join!(next.leave(40), give_way);
    assert!(leave.is_ok());
    assert!((SECOND..SECOND * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// The work goes on though whoever asked has reset the stream: the leave is still taken.
#[tokio::test(start_paused = true)]
async fn a_leave_lasts_as_long_as_its_work() {
    let clients = Clients::new(100, patience());
    let connection = clients.place(peer(1)).await;
    let asked = connection.begin(Some(Arc::default()));
    let work = asked.leave(1).await.unwrap();
    drop(asked);
    assert_eq!(connection.begin(None).leave(1).await.unwrap_err(), Busy);
    drop(work);
    assert!(connection.begin(None).leave(1).await.is_ok());
}

/// Readers who do not read hold the bytes of old reports: the oldest are given up beyond a bound, and shared ones count
/// once.
#[tokio::test(start_paused = true)]
async fn bytes_that_wait_have_a_bound() {
    let clients = Clients::new(100, patience());
    let mut answers = Vec::new();
    let third = table::MOST_BYTES / 3;
    for body in [1, 1, 1, 2, 3] {
        let connection = clients.place(peer(1)).await;
        let ongoing = connection.begin(None);
        ongoing.sending(body, third);
        sleep(SECOND).await;
        answers.push((connection, ongoing));
    }
    for (connection, _) in &answers {
        assert!(!within(Duration::ZERO, connection.evicted.notified()).await);
    }
    let newest = clients.place(peer(2)).await;
    let ongoing = newest.begin(None);
    ongoing.sending(4, third);
    let mut given_up = Vec::new();
    for (connection, _) in &answers {
        given_up.push(within(Duration::ZERO, connection.evicted.notified()).await);
    }
    assert_eq!(given_up, [true, true, true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_refused() {
    let clients = Clients::new(100, patience());
    let connection = clients.place(peer(1)).await;
    let busy = connection.begin(None);
    let _leave = busy.leave(2).await.unwrap();
    let began = Instant::now();
    assert_eq!(connection.begin(None).leave(2).await.unwrap_err(), Busy);
    assert!((SECOND..SECOND * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// The queue has an end, and a connection that has and wants more makes room in it; a leave goes to who has least.
#[tokio::test(start_paused = true)]
async fn who_wants_much_waits_behind_who_wants_little() {
    let clients = Clients::new(100, patience());
    let (greedy, modest) = (clients.place(peer(1)).await, clients.place(peer(1)).await);
    let mut leaves = Vec::new();
    let ongoing: Vec<Ongoing> = (0..60).map(|_| greedy.begin(Some(Arc::default()))).collect();
    let mut asked: Vec<_> = ongoing.iter().map(|it| Box::pin(it.leave(8))).collect();
    let mut refused = 0;
    for leave in &mut asked {
        match timeout(Duration::ZERO, leave).await {
            Ok(Ok(leave)) => leaves.push(leave),
            Ok(Err(Busy)) => refused += 1,
            Err(_) => {}
        }
    }
    assert_eq!((leaves.len(), refused), (2, 54), "a quarter of 8, and half of 8 wait");
    let scrape = modest.begin(None);
    assert!(timeout(SECOND / 10, scrape.leave(8)).await.is_ok_and(|leave| leave.is_ok()));
}
