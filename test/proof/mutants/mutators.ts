import { isFunction, isNode, type Node, parseSource, walk } from './syntax.js'

/** One small change of one file. */
export interface Mutant {
  /** `<file>:<line>:<column> <kind> <replacement>`, unique. */
  readonly id: string
  readonly file: string
  readonly line: number
  readonly start: number
  readonly end: number
  readonly replacement: string
}

interface Change {
  readonly kind: string
  readonly start: number
  readonly end: number
  readonly replacement: string
}

/** Every mutant of a file, in the order of the source. */
export function mutantsOf(file: string, source: string): Mutant[] {
  const changes: Change[] = []
  walk(parseSource(file, source), (node, parents) => changes.push(...changesOf(node, parents, source)))
  const mutants = new Map<string, Mutant>()
  for (const { kind, start, end, replacement } of changes) {
    if (source.slice(start, end) === replacement) continue
    const before = source.slice(0, start).split('\n')
    const line = before.length
    const shown = replacement.replaceAll(/\s+/g, ' ').slice(0, 60)
    const id = `${file}:${line}:${(before.at(-1) ?? '').length + 1} ${kind} ${shown}`
    mutants.set(id, { id, file, line, start, end, replacement })
  }
  return [...mutants.values()].sort((one, other) => one.start - other.start)
}

export function apply(source: string, { start, end, replacement }: Mutant): string {
  return source.slice(0, start) + replacement + source.slice(end)
}

type Mutator = (node: Node, text: (node: Node) => string, parents: readonly Node[]) => Change[]

const OPERATORS: Readonly<Record<string, readonly string[]>> = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '&&': ['||'],
  '||': ['&&'],
  '??': ['&&'],
  '+=': ['-='],
  '-=': ['+='],
  '??=': ['='],
  '||=': ['='],
  '++': ['--'],
  '--': ['++'],
}

const METHODS = new Map(Object.entries({ min: 'max', max: 'min', some: 'every', every: 'some' }))

const MUTATORS: Readonly<Record<string, Mutator>> = {
  BinaryExpression: (node, text) => operator(node, node.left as Node, node.right as Node, text),
  LogicalExpression: (node, text) => operator(node, node.left as Node, node.right as Node, text),
  AssignmentExpression: (node, text) => operator(node, node.left as Node, node.right as Node, text),
  UpdateExpression: (node, text) => {
    const swapped = OPERATORS[node.operator as string]?.[0] ?? ''
    const argument = text(node.argument as Node)
    return [replace('operator', node, node.prefix ? swapped + argument : argument + swapped)]
  },
  UnaryExpression: (node, text) =>
    node.operator === '!' || node.operator === '-' ? [replace('negation', node, text(node.argument as Node))] : [],
  IfStatement: (node) => [force(node, true), force(node, false)],
  ConditionalExpression: (node) => [force(node, true), force(node, false)],
  WhileStatement: (node) => [force(node, false)],
  ForStatement: (node) => (isNode(node.test) ? [force(node, false)] : []),
  Literal: (node, _text, parents) => literal(node, parents),
  ExpressionStatement: (node) => [replace('remove', node, ';')],
  BreakStatement: (node) => [replace('remove', node, ';')],
  ContinueStatement: (node) => [replace('remove', node, ';')],
  ThrowStatement: (node) => [replace('remove', node, ';')],
  ReturnStatement: (node) => {
    if (!isNode(node.argument)) return [replace('remove', node, ';')]
    if (node.argument.type === 'Literal') return []
    return ['undefined', 'true', 'false'].map((value) => replace('return', node, `return ${value}`))
  },
  ArrowFunctionExpression: (node) => {
    const body = node.body as Node
    if (!node.expression || body.type === 'Literal') return []
    return ['undefined', 'true', 'false'].map((value) => replace('return', body, value))
  },
  BlockStatement: (node, _text, parents) => {
    const parent = parents.at(-1)
    if (parent === undefined || parent.type === 'TryStatement') return []
    const statements = (node.body as Node[]).length
    return statements > 1 || (statements === 1 && isFunction(parent)) ? [replace('empty', node, '{}')] : []
  },
  MemberExpression: (node, text) => {
    const property = node.property as Node
    const other = METHODS.get(property.name as string)
    const changes = other === undefined ? [] : [replace('method', property, other)]
    if (!node.optional) return changes
    const object = text(node.object as Node)
    return [
      ...changes,
      replace('chain', node, `${object}${node.computed ? `[${text(property)}]` : `.${text(property)}`}`),
    ]
  },
}

function changesOf(node: Node, parents: readonly Node[], source: string): Change[] {
  return MUTATORS[node.type]?.(node, ({ start, end }) => source.slice(start, end), parents) ?? []
}

function replace(kind: string, { start, end }: Node, replacement: string): Change {
  return { kind, start, end, replacement }
}

function operator(node: Node, left: Node, right: Node, text: (node: Node) => string): Change[] {
  const others = OPERATORS[node.operator as string] ?? []
  return others.map((other) => replace('operator', node, `${text(left)} ${other} ${text(right)}`))
}

function force(node: Node, value: boolean): Change {
  return replace('condition', node.test as Node, String(value))
}

function literal(node: Node, parents: readonly Node[]): Change[] {
  const parent = parents.at(-1)
  if (parent === undefined || isMessage(parents)) return []
  const { value } = node
  if (typeof value === 'boolean') return [replace('literal', node, String(!value))]
  if (typeof value === 'number') return [replace('literal', node, String(value + 1))]
  if (typeof value !== 'string' || parent.type === 'ExportNamedDeclaration') return []
  return [replace('literal', node, value === '' ? "'mutant'" : "''")]
}

/** Texts of errors are for people: no test should fix each word. */
function isMessage(parents: readonly Node[]): boolean {
  for (const parent of [...parents].reverse()) {
    if (isFunction(parent)) return false
    if (parent.type === 'NewExpression' && /(?:Error|Exception)$/.test(String((parent.callee as Node).name)))
      return true
  }
  return false
}
