/* What visitors do on the pages of a shop, to the collector that this file came from.

   <script async src="https://360.example.org/v1/snippet.js" data-write-key="…"></script>

   It sends the page, and the product where the page says which it is (JSON-LD, or product:retailer_item_id). The rest
   is said by calls: customer360.cart.add({product_id: "P1"}), customer360.identify("C1"), … Before the file has come,
   calls may be put in line: (window.customer360 = window.customer360 || []).push(["track", "Size Chosen", {}]).

   data-consent="required": nothing is kept in the browser or sent before customer360.consent({…}) says yes to a category.
   After a no to all, the no alone is kept. One that takes a yes back is sent, with what was done under the yes.
   data-page="manual": no page is sent by itself. */
(function () {
  "use strict";
  var script = document.currentScript;
  var key = script.getAttribute("data-write-key");
  var address = new URL("batch?key=" + encodeURIComponent(key), script.src).href;
  var VISIT = 30 * 60 * 1000, MOST = 500, FIRST_WAIT = 1000, LONGEST_WAIT = 60000;
  var LARGEST = 60000;  // bytes of a request: browsers send no more from a page that is left
  var atOnce = 40, queue = [], timer = null, wait = FIRST_WAIT, sending = false, memory = {}, kept = {};
  var waitsForConsent = script.getAttribute("data-consent") === "required";

  function mayKeep() {  // once somebody said yes to a category
    return !waitsForConsent || isYes(memory.consent || {});
  }
  function isYes(answers) {
    return Object.keys(answers).some(function (name) { return answers[name] === true; });
  }
  function stored(name) {
    if (!mayKeep() && name !== "consent") return memory[name];
    try { return JSON.parse(localStorage.getItem("c360." + name)) || memory[name]; } catch (e) { return memory[name]; }
  }
  function store(name, value) {
    memory[name] = value;
    if (!mayKeep() && name !== "consent" && value !== undefined) return;
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
    if (!mayKeep() && stored("consent")) return;  // what is done after a no is nobody's, also after a later yes
    var now = new Date();
    var event = { type: type, messageId: number(), timestamp: now.toISOString(), more: more, at: now.getTime() };
    queue.push(event);
    if (queue.length > MOST) drop([queue[0]]);
    if (!mayKeep()) return;
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
    keep();
  }
  // Each event lies under a name of its own, so that pages in two tabs do not take each other's away.
  function keep() {
    if (!mayKeep()) return;
    queue.forEach(function (event) {
      if (!event.more && !kept[event.messageId]) store("queue." + event.messageId, (kept[event.messageId] = event));
    });
  }
  function drop(events) {
    queue = queue.filter(function (event) { return events.indexOf(event) < 0; });
    forget(events);
  }
  function forget(events) {  // what the browser keeps of them
    events.forEach(function (event) {
      store("queue." + event.messageId, undefined);
      delete memory["queue." + event.messageId];
      delete kept[event.messageId];
    });
  }
  function left() {  // by pages before this one
    var found = [];
    try {
      for (var at = 0; at < localStorage.length; at++) {
        var name = localStorage.key(at);
        if (name.indexOf("c360.queue.") === 0) found.push(JSON.parse(localStorage.getItem(name)));
      }
    } catch (e) { /* a browser that keeps nothing */ }
    found.forEach(function (event) { kept[event.messageId] = event; });
    return found.sort(function (a, b) { return a.timestamp < b.timestamp ? -1 : 1; });
  }
  function later(milliseconds) {
    if (timer === null) timer = setTimeout(send, milliseconds);
  }
  function body(events) {
    return JSON.stringify({ writeKey: key, sentAt: new Date().toISOString(), batch: events });
  }
  function next() {  // as many as one request takes, and one at least
    var events = [], size = 0;
    queue.slice(0, atOnce).some(function (event) {
      if (event.more) return true;
      size += new Blob([JSON.stringify(event)]).size + 1;
      if (events.length && size > LARGEST) return true;
      events.push(event);
      return false;
    });
    return events;
  }
  function send() {
    timer = null;
    var events = sending ? [] : next();
    if (!events.length) return;
    sending = true;
    // A body of plain text needs no question before it; the key is in it.
    fetch(address, { method: "POST", body: body(events), credentials: "omit", mode: "cors",
                     headers: { "Content-Type": "text/plain" } })
      .then(function (answer) {
        if (answer.status === 413 && events.length > 1) {
          atOnce = Math.ceil(events.length / 2);
          sending = false;
          return later(0);
        }
        // What the server judged is not sent again: it is taken, no call, or too large even alone.
        if ([200, 400, 413].indexOf(answer.status) < 0) throw answer.headers.get("Retry-After");
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
    drop(events);
    if (queue.length) later(0);
  }
  function leave() {
    var events = next();  // they stay until a page hears that they came
    if (events.length && navigator.sendBeacon) navigator.sendBeacon(address, body(events));
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

  function answered() { call("track", { event: "Segment Consent Preference Updated", properties: {} }); }
  function takeBack(answers) {  // a no after a yes is sent as who said yes; this page alone knows until it came
    answered();
    var no = queue.pop();
    no.context.consent = { categoryPreferences: answers };
    no.timestamp = new Date(Date.parse(no.timestamp) + 1).toISOString();  // after what was done with the yes just now
    queue.unshift(no);  // first, where a page that is left sends no more
    forget(queue);
    api.reset();
    store("consent", answers);
    send();
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
      if (waitsForConsent && mayKeep() && !isYes(answers)) return takeBack(answers);
      store("consent", answers);
      if (!mayKeep()) return drop(queue.filter(function (event) { return event.more; }));  // a no to begin with
      ["visitor", "user", "visit"].forEach(function (name) { if (memory[name]) store(name, memory[name]); });
      answered();
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
  if (mayKeep()) queue = left();
  addEventListener("pagehide", leave);
  if (script.getAttribute("data-page") !== "manual") api.page();
  [].concat(inLine).forEach(api.push);
  if (queue.length && mayKeep()) later(0);
})();
