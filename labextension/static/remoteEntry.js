// A JupyterLab extension in the form that JupyterLab loads, written by hand so that no build is needed: it colours
// `%%subagents` cells as YAML, where an apostrophe in a prompt would else turn the rest of the line into a string, and
// says what became of a live view that was saved while its run went on.
(() => {
  "use strict";

  const OURS = /^%%subagents(?!\w)/;
  const YAML = "text/x-yaml";
  const LOST = "Error displaying widget: model not found";
  const UNSEEN = "The live view of a run needs";
  let shared;

  const plugin = (INotebookTracker, IEditorLanguageRegistry) => ({
    id: "xz_magics:colours",
    description: "Colours %%subagents cells as YAML, and says what became of a live view without its kernel.",
    autoStart: true,
    requires: [INotebookTracker, IEditorLanguageRegistry],
    activate: (app, tracker, languages) => {
      tracker.forEach((panel) => follow(panel, languages));
      tracker.widgetAdded.connect((_, panel) => follow(panel, languages));
    },
  });

  // Follows each cell of a notebook: those that are there, those that come, and those that change.
  function follow(panel, languages) {
    const known = new WeakSet();
    const isOurs = (cell) => OURS.test(cell.sharedModel.getSource());
    const look = async (cell) => {
      if (cell.type !== "code" || isOurs(cell) === (cell.mimeType === YAML)) return;
      // An editor loads each language that it is told, and keeps the one that is loaded last.
      await languages.getLanguage(cell.mimeType);
      if (isOurs(cell)) cell.mimeType = YAML;
      else if (cell.mimeType === YAML) cell.mimeType = panel.content.codeMimetype;
    };
    const lookAtAll = () => {
      for (const cell of panel.content.model?.cells ?? []) {
        look(cell);
        if (known.has(cell)) continue;
        known.add(cell);
        cell.contentChanged.connect(look);
        cell.mimeTypeChanged.connect(() => look(cell)); // the kernel tells its language when it is there
      }
    };
    const meet = () => {
      panel.content.model?.cells.changed.connect(lookAtAll);
      lookAtAll();
    };
    panel.content.modelChanged.connect(meet);
    panel.context.ready.then(meet);
    tellOfLost(panel.content);
  }

  // A view that no kernel knows has words of its own in the notebook's file, which are shown where nobody knows widgets.
  function tellOfLost(notebook) {
    const watcher = new MutationObserver((changes) => {
      const lost = changes.map(({ target }) => target);
      for (const node of lost.filter((one) => one.classList?.contains("jupyter-widgets"))) {
        const words = node.textContent === LOST ? wordsOf(notebook, node) : "";
        if (words.startsWith(UNSEEN)) node.textContent = words;
      }
    });
    watcher.observe(notebook.node, { childList: true, subtree: true });
  }

  function wordsOf(notebook, node) {
    for (const { outputArea } of notebook.widgets) {
      const at = outputArea?.widgets.findIndex((output) => output.node.contains(node)) ?? -1;
      if (at >= 0) return String(outputArea.model.get(at).data["text/plain"] ?? "");
    }
    return "";
  }

  // What JupyterLab shares with its extensions, at whatever version it has.
  async function sharedModule(name) {
    const [version] = Object.values(shared[name]);
    return (await version.get())();
  }

  globalThis._JUPYTERLAB = globalThis._JUPYTERLAB ?? {};
  globalThis._JUPYTERLAB["xz_magics"] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => {
      const { INotebookTracker } = await sharedModule("@jupyterlab/notebook");
      const { IEditorLanguageRegistry } = await sharedModule("@jupyterlab/codemirror");
      return () => ({ __esModule: true, default: plugin(INotebookTracker, IEditorLanguageRegistry) });
    },
  };
})();
