/* What visitors do on the pages of a shop, to the collector that this file came from.

   <script async src="https://360.example.org/v1/snippet.js" data-write-key="…"></script>

   It sends the page, and the product where the page says which it is (JSON-LD, or product:retailer_item_id). The rest
   is said by calls: customer360.cart.add({product_id: "P1"}), customer360.identify("C1"), … Before the file has come,
   calls may be put in line: (window.customer360 = window.customer360 || []).push(["track", "Size Chosen", {}]).

   data-consent="required": nothing is kept in the browser or sent before customer360.consent({…}).
   data-page="manual": no page is sent by itself. */
(function () {
  "use strict";
  var script = document.currentScript;
  var key = script.getAttribute("data-write-key");
  var address = new URL("batch", script.src).href;
  var VISIT = 30 * 60 * 1000, AT_ONCE = 40, MOST = 500, FIRST_WAIT = 1000, LONGEST_WAIT = 60000;
  var queue = [], timer = null, wait = FIRST_WAIT, sending = false, memory = {};
  var waitsForConsent = script.getAttribute("data-consent") === "required";

  function stored(name) {
    if (waitsForConsent && !memory.consent && name !== "consent") return memory[name];
    try { return JSON.parse(localStorage.getItem("c360." + name)) || memory[name]; } catch (e) { return memory[name]; }
  }
  function store(name, value) {
    memory[name] = value;
    if (waitsForConsent && !memory.consent) return;
    try {
      if (value === undefined) localStorage.removeItem("c360." + name);
      else localStorage.setItem("c360." + name, JSON.stringify(value));
    } catch (e) { /* a browser that keeps nothing: this page alone knows */ }
  }
  function number() {
    if (window.crypto && crypto.randomUUID) return crypto.randomUUID();
    var parts = crypto.getRandomValues(new Uint32Array(4));
    return Array.prototype.map.call(parts, function (n) { return ("0000000" + n.toString(16)).slice(-8); }).join("-");
  }
  function visitor() {
    var id = stored("visitor");
    if (!id) store("visitor", (id = number()));
    return id;
  }
  function visit(now) {
    var held = stored("visit");
    if (!held || now - held.at > VISIT) held = { id: number() };
    held.at = now;
    store("visit", held);
    return held.id;
  }
  function campaign() {
    var found = {}, named = { source: 1, medium: 1, campaign: "name", term: 1, content: 1 };
    new URLSearchParams(location.search).forEach(function (value, name) {
      var part = name.indexOf("utm_") === 0 && named[name.slice(4)];
      if (part) found[part === 1 ? name.slice(4) : part] = value;
    });
    return found;
  }
  function context(now) {
    var said = {
      page: { url: location.href, path: location.pathname, title: document.title, referrer: document.referrer,
              search: location.search },
      userAgent: navigator.userAgent, locale: navigator.language, campaign: campaign(), sessionId: visit(now),
      library: { name: "customer360.js", version: "1" }
    };
    try { said.timezone = Intl.DateTimeFormat().resolvedOptions().timeZone; } catch (e) { /* an old browser */ }
    var consent = stored("consent");
    if (consent) said.consent = { categoryPreferences: consent };
    return said;
  }
  function call(type, more) {
    var now = new Date();
    var event = { type: type, messageId: number(), timestamp: now.toISOString(), more: more, at: now.getTime() };
    queue.push(event);
    if (queue.length > MOST) queue.shift();
    if (waitsForConsent && !stored("consent")) return;
    complete();
    later(50);
  }
  function complete() {  // who did it and where is noted when it may be
    queue.forEach(function (event) {
      if (!event.more) return;
      var more = event.more;
      delete event.more;
      event.anonymousId = visitor();
      if (stored("user")) event.userId = stored("user");
      event.context = context(event.at);
      delete event.at;
      for (var name in more) event[name] = more[name];
    });
    store("queue", queue);
  }
  function later(milliseconds) {
    if (timer === null) timer = setTimeout(send, milliseconds);
  }
  function body(events) {
    return JSON.stringify({ writeKey: key, sentAt: new Date().toISOString(), batch: events });
  }
  function send() {
    timer = null;
    var events = queue.slice(0, AT_ONCE);
    if (sending || !events.length || events[0].more) return;
    sending = true;
    // A body of plain text needs no question before it; the key is in it.
    fetch(address, { method: "POST", body: body(events), keepalive: true, credentials: "omit", mode: "cors",
                     headers: { "Content-Type": "text/plain" } })
      .then(function (answer) {
        if (answer.status === 429 || answer.status >= 500) throw answer.headers.get("Retry-After");
        done(events);
      })
      .catch(function (seconds) {  // sent again, an event is kept once: its messageId is the same
        sending = false;
        wait = Math.min(2 * wait, LONGEST_WAIT);
        later(Math.max(wait, 1000 * seconds || 0));
      });
  }
  function done(events) {
    sending = false;
    wait = FIRST_WAIT;
    queue = queue.filter(function (event) { return events.indexOf(event) < 0; });
    store("queue", queue.length ? queue : undefined);
    if (queue.length) later(0);
  }
  function leave() {
    if (!queue.length || queue[0].more || !navigator.sendBeacon) return;
    var events = queue.slice(0, AT_ONCE);
    if (navigator.sendBeacon(address, body(events))) done(events);
  }

  function product() {
    var meta = document.querySelector('meta[property="product:retailer_item_id"]');
    if (meta) return { product_id: meta.content };
    var found = null;
    document.querySelectorAll('script[type="application/ld+json"]').forEach(function (block) {
      try {
        [].concat(JSON.parse(block.textContent)).forEach(function (top) {
          [].concat(top["@graph"] || top).forEach(function (each) {
            var id = [].concat(each["@type"]).indexOf("Product") >= 0 && (each.productID || each.sku);
            if (id && !found) found = { product_id: String(id), name: each.name };
          });
        });
      } catch (e) { /* not ours to mend */ }
    });
    return found;
  }

  var api = {
    page: function (properties) {
      call("page", { properties: properties || {} });
      var shown = product();
      if (shown) api.product(shown);
    },
    track: function (event, properties) { call("track", { event: event, properties: properties || {} }); },
    identify: function (id, traits) {
      store("user", String(id));
      call("identify", { userId: String(id), traits: traits || {} });
    },
    alias: function (id) { call("alias", { userId: String(id), previousId: visitor() }); },
    group: function (id, traits) { call("group", { groupId: String(id), traits: traits || {} }); },
    product: function (about) { api.track("Product Viewed", about); },
    search: function (query) { api.track("Products Searched", { query: query }); },
    order: function (about) { api.track("Order Completed", about); },
    cart: {
      add: function (about) { api.track("Product Added", about); },
      remove: function (about) { api.track("Product Removed", about); },
      view: function (products) { api.track("Cart Viewed", { products: products }); }
    },
    consent: function (answers) {
      memory.consent = answers;
      store("consent", answers);
      ["visitor", "user", "visit"].forEach(function (name) { if (memory[name]) store(name, memory[name]); });
      api.track("Segment Consent Preference Updated", {});
    },
    reset: function () { ["user", "visitor", "visit"].forEach(function (name) { store(name, undefined); }); },
    push: function (said) {
      var at = said[0].split("."), fn = at.length > 1 ? api[at[0]][at[1]] : api[at[0]];
      fn.apply(null, said.slice(1));
    }
  };

  var inLine = window.customer360 || [];
  window.customer360 = api;
  memory.consent = stored("consent");
  queue = stored("queue") || [];
  addEventListener("pagehide", leave);
  if (script.getAttribute("data-page") !== "manual") api.page();
  [].concat(inLine).forEach(api.push);
  if (queue.length && !(waitsForConsent && !stored("consent"))) later(0);
})();
