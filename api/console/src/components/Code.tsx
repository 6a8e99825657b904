import { t } from '../i18n'
import { diff, hunks } from '../util/diff'
import css from './code.module.css'

/** A text with its line numbers. */
export function CodeView({ text, label }: { text: string; label: string }) {
  const lines = text.replace(/\n$/, '').split('\n')
  return (
    <div className={css['code']} role="region" aria-label={label} tabIndex={0}>
      <pre className={css['numbers']} aria-hidden="true">
        {lines.map((_, at) => at + 1).join('\n')}
      </pre>
      <pre className={css['text']}>{text}</pre>
    </div>
  )
}

/** What changed from one text to another, with some lines around each change. */
export function DiffView({ before, after, label }: { before: string; after: string; label: string }) {
  const lines = hunks(diff(before, after))
  if (!lines.some((line) => line !== null && line.kind !== 'same')) {
    return <p style={{ padding: '0 12px' }}>{t('code.same')}</p>
  }
  const marks = { same: ' ', gone: '−', new: '+' } as const
  return (
    <div className={css['code']} role="region" aria-label={label} tabIndex={0}>
      <table className={css['diff']}>
        <tbody>
          {lines.map((line, at) =>
            line === null ? (
              <tr key={at}>
                <td colSpan={4} className={css['gap']}>
                  ⋯
                </td>
              </tr>
            ) : (
              <tr key={at} data-kind={line.kind}>
                <td className={css['number']}>{line.old}</td>
                <td className={css['number']}>{line.now}</td>
                <td className={css['mark']}>
                  {line.kind !== 'same' && <span className={css['said']}>{t(line.kind === 'new' ? 'code.isNew' : 'code.isGone')} </span>}
                  <span aria-hidden="true">{marks[line.kind]}</span>
                </td>
                <td className={css['line']}>{line.text}</td>
              </tr>
            ),
          )}
        </tbody>
      </table>
    </div>
  )
}
