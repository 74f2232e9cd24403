/**
 * `npm run api [-- --update]`
 *
 * Compares the public declarations of each entry point with its report in `docs/api`, and checks the published
 * declarations against `RULES`. `--update` rewrites the reports.
 */
import { spawnSync } from 'node:child_process'
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { CompilerState, Extractor, ExtractorConfig } from '@microsoft/api-extractor'

// The project's own TypeScript has no JS API; API Extractor brings one that has.
const require = createRequire(import.meta.url)
const ts = createRequire(require.resolve('@microsoft/api-extractor'))('typescript')

/** The findings that fail the check, with their remedies. */
const RULES = {
  internal: {
    found: 'Declarations marked @internal are published',
    todo: 'Export an interface with the members that users may call, and keep the class out of public declarations.',
  },
  forgotten: {
    found: 'Public declarations use types that no entry point exports',
    todo: 'Export the type from an entry point, or declare the member without it.',
  },
  undocumented: {
    found: 'Public declarations have no docstring',
    todo: 'Write a docstring: meaning, unit, default, errors. A docstring of nothing but tags does not count.',
  },
  'dev-types': {
    found: 'Public declarations use types of packages that are not installed with this one',
    todo: 'Make the package a dependency or a peer dependency, or declare the member without its types.',
  },
}

const root = join(import.meta.dirname, '..')
const REPORTS = join(root, 'docs/api')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const { update } = parseArgs({ options: { update: { type: 'boolean', default: false } } }).values

/** The entry points with types, by their key in `exports` of package.json. */
const entries = Object.entries(manifest.exports)
  .filter(([, target]) => target.types)
  .map(([key, target]) => ({
    key,
    file: join(root, target.types),
    report: `${key === '.' ? manifest.name : key.slice(2).replaceAll('/', '-')}.api.md`,
  }))

/** Where each violation, `RULE SUBJECT`, was found first. */
const found = new Map()
const failures = []

const folder = mkdtempSync(join(tmpdir(), 'api-report-'))
try {
  for (const { file } of entries)
    if (!existsSync(file)) throw new Error(`${relative(root, file)} does not exist. Build first: npm run build`)
  check()
  compareReports()
  reportViolations()
} finally {
  rmSync(folder, { recursive: true })
}
if (failures.length > 0) {
  console.error(`\n${failures.map((failure) => `api: ${failure}\n`).join('\n')}`)
  process.exitCode = 1
}

function note(violation, file) {
  if (!found.has(violation)) found.set(violation, relative(root, file))
}

/** Writes the new reports to `folder` and fills `found`. */
function check() {
  const configs = new Map(entries.map((entry) => [entry, configOf(entry)]))
  const additionalEntryPoints = entries.map(({ file }) => file)
  const state = CompilerState.create(configs.get(entries[0]), { additionalEntryPoints })
  const { program } = state
  const checker = program.getTypeChecker()
  const exportsOf = ({ file }) => checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)))
  const exported = new Set(entries.flatMap((entry) => exportsOf(entry).map((symbol) => symbol.name)))

  for (const entry of entries) {
    const sources = [...sourcesOf(program, entry.file)]
    const globals = sources.flatMap(({ statements }) => statements.filter(ts.isGlobalScopeAugmentation))
    writeReport(entry, configs.get(entry), state, exported)
    appendGlobals(entry, globals)
    for (const symbol of exportsOf(entry)) findUndocumented(checker, entry.key, symbol)
    for (const node of globals) findUndocumentedMembers(checker, entry.key, node)
    for (const source of sources) findInternal(source)
    findDevTypes(checker, entry.key, sources)
    console.log(`${entry.key}: ${exportsOf(entry).length} public names, docs/api/${entry.report}`)
  }
}

function configOf({ file, report }) {
  const off = { default: { logLevel: 'none' } }
  return ExtractorConfig.prepare({
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: file,
      compiler: { tsconfigFilePath: join(root, 'tsconfig.build.json') },
      apiReport: {
        enabled: true,
        reportFolder: folder,
        reportTempFolder: join(folder, 'temp'),
        reportFileName: report,
        includeForgottenExports: true,
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      newlineKind: 'lf',
      messages: {
        extractorMessageReporting: { ...off, 'ae-forgotten-export': { logLevel: 'warning' } },
        tsdocMessageReporting: off,
      },
    },
    packageJsonFullPath: join(root, 'package.json'),
  })
}

/** Writes the report of an entry point, and notes the types that it uses and that nothing exports. */
function writeReport({ key }, config, compilerState, exported) {
  const messageCallback = (message) => {
    message.handled = true
    if (message.category === 'Compiler') failures.push(`${message.sourceFilePath ?? ''} ${message.text}`)
    if (message.messageId === 'ae-forgotten-export') {
      const [, type] = /"(.+?)"/.exec(message.text)
      if (!exported.has(type)) note(`forgotten ${key} ${type}`, message.sourceFilePath)
    }
  }
  Extractor.invoke(config, { compilerState, localBuild: true, messageCallback })
}

/** API Extractor passes over `declare global`. */
function appendGlobals({ report }, globals) {
  if (globals.length === 0) return
  const printer = ts.createPrinter({ removeComments: true, newLine: ts.NewLineKind.LineFeed })
  const print = (node) => printer.printNode(ts.EmitHint.Unspecified, node, node.getSourceFile())
  const text = globals.map(print).sort().join('\n\n')
  appendFileSync(join(folder, report), `\n## Global declarations\n\n\`\`\`ts\n\n${text}\n\n\`\`\`\n`)
}

function compareReports() {
  rmSync(join(folder, 'temp'), { recursive: true, force: true })
  mkdirSync(REPORTS, { recursive: true })
  if (update) {
    rmSync(REPORTS, { recursive: true })
    cpSync(folder, REPORTS, { recursive: true })
    return
  }
  const { status, stdout, stderr, error } = spawnSync(
    'git',
    ['diff', '--no-index', '--no-color', '--no-ext-diff', '--', 'docs/api', folder],
    { cwd: root, encoding: 'utf8' },
  )
  if (error) throw error
  if (status === 0) return
  failures.push(
    `The public declarations are not what the reports in docs/api say.\n\n${stdout}${stderr}\n` +
      'If users should get this change: npm run api -- --update, and commit docs/api with it.',
  )
}

/** All declaration files of `dist` that the declarations of an entry point import, at any depth. */
function sourcesOf(program, file, seen = new Set()) {
  const source = program.getSourceFile(file)
  if (seen.has(source)) return seen
  seen.add(source)
  for (const { text } of source.imports) {
    if (text.startsWith('.')) sourcesOf(program, join(file, '..', text.replace(/\.js$/, '.d.ts')), seen)
  }
  return seen
}

function findInternal(source) {
  const visit = (node) => {
    // As `stripInternal` of TypeScript: wherever the comment has the word.
    if (node.jsDoc?.some((comment) => comment.getText().includes('@internal'))) {
      note(`internal ${pathOf(node)}`, source.fileName)
    }
    node.forEachChild(visit)
  }
  visit(source)
}

/** `Class.member`, for a declaration of any kind. */
function pathOf(node) {
  const names = []
  for (let at = node; at.parent; at = at.parent) {
    if (ts.isConstructorDeclaration(at)) names.unshift('constructor')
    else if (at.name && !ts.isBindingPattern(at.name)) names.unshift(at.name.getText())
  }
  if (ts.isVariableStatement(node)) names.push(...node.declarationList.declarations.map(({ name }) => name.getText()))
  return names.join('.')
}

function findUndocumented(checker, key, symbol) {
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  if (!isDocumented(checker, target)) {
    note(`undocumented ${key} ${symbol.name}`, target.declarations[0].getSourceFile().fileName)
  }

  for (const declaration of target.declarations) {
    // The members of a constant follow from its value.
    if (!ts.isVariableDeclaration(declaration)) findUndocumentedMembers(checker, key, declaration)
  }
}

function findUndocumentedMembers(checker, key, node) {
  if (isHidden(node)) return
  const declared = isMember(node) && checker.getSymbolAtLocation(node.name)
  if (declared && !isDocumented(checker, declared)) {
    note(`undocumented ${key} ${pathOf(node)}`, node.getSourceFile().fileName)
  }
  node.forEachChild((child) => findUndocumentedMembers(checker, key, child))
}

function isDocumented(checker, symbol) {
  return symbol.getDocumentationComment(checker).length > 0
}

function isMember(node) {
  return ts.isPropertySignature(node) || ts.isMethodSignature(node) || (ts.isClassElement(node) && node.name)
}

function isHidden(node) {
  return (
    (ts.isClassElement(node) && ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Private) ||
    (node.name && ts.isPrivateIdentifier(node.name)) ||
    node.jsDoc?.some((comment) => comment.getText().includes('@internal'))
  )
}

/** Packages whose types the declarations import or use as globals, and that users may not have installed. */
function findDevTypes(checker, key, files) {
  const installed = new Set([
    manifest.name,
    ...Object.keys(manifest.dependencies),
    ...Object.keys(manifest.peerDependencies),
    // TypeScript's own libraries.
    'typescript',
  ])
  const visit = (node) => {
    if (ts.isStringLiteral(node) ? isSpecifier(node) : ts.isIdentifier(node)) {
      const packages = (checker.getSymbolAtLocation(node)?.declarations ?? []).map(packageOf)
      // A global may have declarations in several packages; any one of them will do.
      if (packages.length > 0 && !packages.some((name) => installed.has(name))) {
        note(`dev-types ${key} ${packages[0]}`, node.getSourceFile().fileName)
      }
    }
    node.forEachChild(visit)
  }
  for (const file of files) visit(file)
}

function isSpecifier(node) {
  return (
    ts.isImportDeclaration(node.parent) ||
    ts.isExportDeclaration(node.parent) ||
    (ts.isLiteralTypeNode(node.parent) && ts.isImportTypeNode(node.parent.parent))
  )
}

function packageOf(declaration) {
  const file = declaration.getSourceFile().fileName
  const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file) ?? []
  return name ?? manifest.name
}

function reportViolations() {
  for (const [rule, { found: title, todo }] of Object.entries(RULES)) {
    const violations = [...found.keys()].filter((line) => line.startsWith(`${rule} `)).sort()
    if (violations.length === 0) continue
    failures.push(`${title}:\n${violations.map((line) => `  ${line} (${found.get(line)})\n`).join('')}${todo}`)
  }
}
