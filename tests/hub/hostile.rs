//! Servers that mean no good: nothing leaves the cache, the token stays at home, the terminal stays clean.

use super::*;

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let world = World::new(tiny()).with_token("hf_secret");
    world.open().unwrap();
    for seen in world.hub.requests() {
        let token = seen.header("authorization");
        match seen.origin {
            Origin::Hub => assert_eq!(token, Some("Bearer hf_secret"), "{}", seen.path),
            Origin::Cdn => assert_eq!(token, None, "{}", seen.path),
        }
    }
    assert!(world.hub.requests().iter().any(|seen| seen.origin == Origin::Cdn));
}

#[test]
fn what_a_server_says_is_cleaned() {
    let world = World::new(tiny());
    let body = r#"{"error":"\u001b[31mred\u0007\nline"}"#;
    let fault = Fault::Status { code: 418, headers: Vec::new(), body: body.into() };
    world.hub.fault(On::hub("/api/"), fault, 1000);
    let error = world.error();
    assert!(error.contains("418") && error.contains("red"), "{error}");
}

#[test]
fn an_index_that_leads_elsewhere_is_refused() {
    let index = r#"{"weight_map":{"a":"../../../../evil.safetensors"}}"#;
    let world = World::new(sharded().file("model.safetensors.index.json", index));
    assert!(world.error().contains("lies outside"), "{}", world.error());
}

#[test]
fn names_that_lead_out_of_the_cache_are_never_written() {
    let evil = vec![6; 100];
    let world = World::new(
        tiny().file("../../../../evil/config.json", evil.clone()).lfs("/etc/evil.safetensors", evil.clone()),
    );
    assert_whole(&world);
    let wanted = Wanted { file: Some("/etc/evil.safetensors"), ..Wanted::default() };
    let error = format!("{:#}", world.open_as(NAME, &wanted, &Nobody).unwrap_err());
    assert!(error.contains("has no file /etc/evil.safetensors"), "{error}");

    for etag in ["../../../evil", "/etc/evil", ".."] {
        let world = World::new(tiny());
        let headers = vec![("ETag", format!("\"{etag}\"")), ("Content-Length", "817".to_owned())];
        let fault = Fault::Status { code: 200, headers, body: String::new() };
        world.hub.fault(On::hub("resolve-cache").head(), fault, 1000);
        assert!(world.error().contains("ETag"), "{}", world.error());
    }
}

#[test]
fn a_redirect_to_another_kind_of_address_is_not_followed() {
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://"] {
        let world = World::new(tiny());
        let fault = Fault::Redirect { to: to.into(), code: 302 };
        world.hub.fault(On::hub(WEIGHTS), fault, 1000);
        let error = world.error();
        assert!(error.contains("redirect to nowhere"), "{to}: {error}");
    }
    let world = World::new(tiny());
    let around = Fault::Redirect { to: "/org/tiny/resolve/x/config.json".into(), code: 307 };
    world.hub.fault(On::hub("resolve"), around, 1000);
    assert!(world.error().contains("redirects without end"), "{}", world.error());
}
