//! Images that VMs write: added, set and discarded in the commit of the VM that does it.

mod support;

use ostler_model::*;
use ostler_store::*;
use support::*;

fn locked(id: u32) -> Image {
    Image { state: ImageState::Locked, ..image(id) }
}

fn state(store: &Store, id: u32) -> Option<ImageState> {
    store.read().expect("reads").image(ImageId(id)).expect("reads").map(|image| image.state)
}

/// A store with VM 1, whose disk stands on image 1.
async fn with_vm() -> (Store, VmRecord) {
    let store = store();
    applied(&store, ground()).await;
    let created = create(idle(placed(with_disk(vm(1), 1), 1), State::Running));
    applied(&store, created.clone()).await;
    (store, of(&created))
}

fn with(record: &VmRecord, resources: Vec<ResourceChange>) -> Commit {
    Commit { resources, ..change(record.clone()) }
}

async fn answer(store: &Store, commit: Commit) -> Committed {
    let answer = store.commit(commit).await.expect("decided");
    sound(store);
    answer
}

#[tokio::test]
async fn an_image_is_added_set_and_discarded_with_the_vm_that_writes_it() {
    let (store, record) = with_vm().await;
    let commit = with(
        &record,
        vec![ResourceChange::ImagePut(locked(3)), ResourceChange::ImagePut(locked(4))],
    );
    applied(&store, commit.clone()).await;
    let by_name = store.read().expect("reads").image_by_name(&image(3).name).expect("reads");
    assert_eq!(by_name, Some(locked(3)));
    let ready = ResourceChange::ImageSetState { id: ImageId(3), state: ImageState::Ready };
    let commit = with(&of(&commit), vec![ready, ResourceChange::ImageDiscard(ImageId(4))]);
    applied(&store, commit.clone()).await;
    assert_eq!((state(&store, 3), state(&store, 4)), (Some(ImageState::Ready), None));
    assert_eq!(store.read().expect("reads").image_by_name(&image(4).name).expect("reads"), None);
    assert!(store.next_image_id() > ImageId(4), "its id is never used again");
    // Once more, as after a crash between the look and the commit: it is gone all the same.
    applied(&store, with(&of(&commit), vec![ResourceChange::ImageDiscard(ImageId(4))])).await;
    sound(&store);
}

fn is_in_use(answer: &Committed, user: &UsedBy) -> bool {
    matches!(answer, Committed::Refused(ResourceRefused::InUse { by, .. }) if by == user)
}

#[tokio::test]
async fn a_name_that_is_taken_changes_neither_the_vm_nor_images() {
    let (store, record) = with_vm().await;
    let before = store.read().expect("reads").dump().expect("dumps");
    let twin = Image { name: image(2).name, ..locked(4) };
    let twins = vec![ResourceChange::ImagePut(locked(3)), ResourceChange::ImagePut(twin)];
    let refused = answer(&store, with(&record, twins)).await;
    let Committed::Refused(ResourceRefused::NameTaken { kind: ResourceKind::Image, name }) =
        refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(name, "image-2");
    assert_eq!(store.read().expect("reads").dump().expect("dumps"), before);
}

#[tokio::test]
async fn the_state_of_an_image_that_is_not_there_cannot_be_set() {
    let (store, record) = with_vm().await;
    let set = ResourceChange::ImageSetState { id: ImageId(9), state: ImageState::Ready };
    let refused = answer(&store, with(&record, vec![set])).await;
    assert!(
        matches!(
            refused,
            Committed::Refused(ResourceRefused::NotFound { what: Resource::Image(_) })
        ),
        "{refused:?}"
    );
    assert_eq!(
        store.read().expect("reads").vm(record.id).expect("reads").map(|vm| vm.version),
        Some(Version(1))
    );
}

#[tokio::test]
async fn only_what_was_never_fit_for_use_is_discarded_and_only_if_no_disk_stands_on_it() {
    let (store, record) = with_vm().await;
    let discard = |id| vec![ResourceChange::ImageDiscard(ImageId(id))];
    let refused = answer(&store, with(&record, discard(2))).await;
    assert!(is_in_use(&refused, &UsedBy::Ready), "{refused:?}");
    let spoilt = ResourceChange::ImageSetState { id: ImageId(1), state: ImageState::Error };
    let spoilt = Commit {
        resources: vec![spoilt, ResourceChange::ImagePut(locked(3))],
        ..Commit::default()
    };
    applied(&store, spoilt).await;
    // Its own disk stands on image 1; and one that comes with the commit would stand on image 3.
    for commit in [with(&record, discard(1)), with(&with_disk(record.clone(), 3), discard(3))] {
        let refused = answer(&store, commit).await;
        assert!(is_in_use(&refused, &UsedBy::Disks { count: 1 }), "{refused:?}");
    }
    let bare = VmRecord { disks: vec![], ..record };
    applied(&store, with(&bare, discard(1))).await;
    assert_eq!(state(&store, 1), None);
    let change = Commit { resources: discard(3), ..Commit::default() };
    applied(&store, change).await;
    assert_eq!(state(&store, 3), None);
    sound(&store);
}

#[tokio::test]
async fn an_image_that_is_being_written_is_not_removed_under_its_writer() {
    let (store, record) = with_vm().await;
    let commit = with(&record, vec![ResourceChange::ImagePut(locked(3))]);
    applied(&store, commit.clone()).await;
    let remove =
        Commit { resources: vec![ResourceChange::ImageRemove(ImageId(3))], ..Commit::default() };
    let refused = answer(&store, remove.clone()).await;
    assert!(is_in_use(&refused, &UsedBy::DiskToSave), "{refused:?}");
    let failed = ResourceChange::ImageSetState { id: ImageId(3), state: ImageState::Error };
    applied(&store, with(&of(&commit), vec![failed])).await;
    applied(&store, remove).await;
    assert_eq!(state(&store, 3), None);
    sound(&store);
}

#[tokio::test]
async fn a_file_is_no_image_of_two_formats() {
    let store = store();
    applied(&store, ground()).await;
    let add = |image: Image| Commit {
        resources: vec![ResourceChange::ImagePut(image)],
        ..Commit::default()
    };
    let first = Image { path: "a.img".parse().expect("a path"), ..image(3) };
    applied(&store, add(first.clone())).await;
    let other = match first.format {
        DiskFormat::Raw => DiskFormat::Qcow2,
        DiskFormat::Qcow2 => DiskFormat::Raw,
    };
    let again = Image { path: first.path.clone(), ..image(4) };
    let refused = answer(&store, add(Image { format: other, ..again.clone() })).await;
    let Committed::Refused(ResourceRefused::FileTaken { image: taken, format, .. }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((taken, format), (first.name.clone(), first.format));
    // The same format under another name, another file, and the same row again are fine.
    applied(&store, add(again)).await;
    applied(
        &store,
        add(Image { format: other, path: "b.img".parse().expect("a path"), ..image(5) }),
    )
    .await;
    applied(&store, add(first)).await;
}
