// The description of the API, from its own openapi.json.

import { by, element } from "./calls.js";

const description = await (await fetch("/openapi.json", { cache: "no-store" })).json();

function shape(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(shape).join(" or ");
  if (schema.type === "array") return `list of ${shape(schema.items)}`;
  if (schema.contentMediaType || schema.format === "binary") return "file";
  return schema.type ?? "anything";
}

function resolved(schema) {
  return schema?.$ref ? description.components.schemas[shape(schema)] : schema;
}

function row(name, kind, required, text) {
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, element("code", {}, name)),
    element("td", {}, `${kind}${required ? "" : ", optional"}`),
    element("td", {}, text ?? ""),
  );
}

function table(title, rows) {
  if (!rows.length) return [];
  return [element("h3", {}, title), element("table", {}, element("tbody", {}, ...rows))];
}

function curl(method, path, fields) {
  const parts = [`curl${method === "GET" ? "" : ` -X ${method}`} ${location.origin}${path}`];
  for (const [name, field] of Object.entries(fields?.properties ?? {})) {
    if (!fields.required?.includes(name)) continue;
    const kind = shape(field);
    parts.push(`-F ${name}=${kind.includes("file") ? "@photo.jpg" : kind === "integer" ? "1" : '"Ada Lovelace"'}`);
  }
  return parts.join(" \\\n  ");
}

function address(path, method, one) {
  const fields = resolved(one.requestBody?.content?.["multipart/form-data"]?.schema ?? one.requestBody?.content?.["application/x-www-form-urlencoded"]?.schema);
  const sent = Object.entries(fields?.properties ?? {}).map(([name, field]) =>
    row(name, shape(field), fields.required?.includes(name), field.description),
  );
  const asked = (one.parameters ?? []).map((p) => row(p.name, `${shape(p.schema)}, in ${p.in}`, p.required, p.description ?? p.schema?.description));
  const [code, good] = Object.entries(one.responses).find(([status]) => status.startsWith("2"));
  const answer = resolved(good.content?.["application/json"]?.schema);
  const back = Object.entries(answer?.properties ?? {}).map(([name, field]) => row(name, shape(field), true, field.description));
  const id = `${method}-${path}`.replace(/[^a-z]+/gi, "-");
  return element(
    "section",
    { class: "card", "aria-labelledby": id },
    element("h2", { id }, element("span", { class: "method" }, method.toUpperCase()), path),
    element("p", {}, one.description ?? ""),
    ...table("Parameters", asked),
    ...table("Form fields", sent),
    ...table(`Answer, ${code}`, back),
    answer?.description ? element("p", { class: "quiet" }, answer.description) : null,
    element("pre", { tabindex: "0", "aria-label": "Example" }, curl(method.toUpperCase(), path, fields)),
  );
}

by("about").textContent = description.info.description;
by("addresses").replaceChildren(
  ...Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => address(path, method, one)),
  ),
);
